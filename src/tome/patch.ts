/**
 * tomesd's way to switch merging on and off.
 *
 * @module
 */
import { checkTokenMerging, type TokenMergingOptions } from "./options.ts";

/** Anything whose runs merge as this property says unless they say otherwise. */
export interface Patchable {
  tokenMerging: TokenMergingOptions | null;
}

/**
 * Sets what later runs of `pipe` merge, and returns it. It may be called again with other options: they replace
 * the former ones, they do not add to them. Weights and kernels stay as they are.
 *
 * @throws {TypeError} for an unknown option or the wrong kind of value.
 * @throws {RangeError} for a value out of range; then `pipe` keeps what it had.
 */
export function applyPatch<T extends Patchable>(pipe: T, options: TokenMergingOptions = {}): T {
  pipe.tokenMerging = checkTokenMerging(options);
  return pipe;
}

/** Later runs of `pipe` merge nothing: the same bits as if it had never been patched. */
export function removePatch<T extends Patchable>(pipe: T): T {
  pipe.tokenMerging = null;
  return pipe;
}
