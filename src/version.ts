import manifest from "../package.json" with { type: "json" };

/**
 * The version of this package, as `package.json` has it.
 *
 * @example
 * ```ts
 * import { VERSION } from "tome-edge";
 *
 * console.log(/^\d+\.\d+\.\d+/.test(VERSION)); // true
 * ```
 */
export const VERSION: string = manifest.version;
