/**
 * tomesd's way to switch merging on and off.
 *
 * @module
 */
import { checkTokenMerging, type TokenMergingOptions } from "./options.ts";

/** Anything whose runs merge as this property says unless they say otherwise: a `Pipeline`. */
export interface Patchable {
  /** The options, checked and complete; null for no merging. */
  tokenMerging: TokenMergingOptions | null;
}

/**
 * Sets what later runs of `pipe` merge, and returns it. It may be called again with other options: they replace
 * the former ones, they do not add to them. Weights and kernels stay as they are.
 *
 * @throws {TypeError} for an unknown option or the wrong kind of value.
 * @throws {RangeError} for a value out of range; then `pipe` keeps what it had.
 *
 * @example
 * ```ts
 * import { applyPatch, loadPipeline, type Patchable } from "tome-edge";
 *
 * const pipe = applyPatch(await loadPipeline(), { ratio: 0.5, maxDownsample: 2 });
 * console.log((pipe satisfies Patchable).tokenMerging?.ratio); // 0.5
 * await pipe.dispose();
 * ```
 */
export function applyPatch<T extends Patchable>(pipe: T, options: TokenMergingOptions = {}): T {
  pipe.tokenMerging = checkTokenMerging(options);
  return pipe;
}

/**
 * Later runs of `pipe` merge nothing: the same bits as if it had never been patched.
 *
 * @example
 * ```ts
 * import { applyPatch, loadPipeline, removePatch } from "tome-edge";
 *
 * const pipe = applyPatch(await loadPipeline());
 * console.log(removePatch(pipe).tokenMerging); // null
 * await pipe.dispose();
 * ```
 */
export function removePatch<T extends Patchable>(pipe: T): T {
  pipe.tokenMerging = null;
  return pipe;
}
