/**
 * The folder of the small model that comes with the package: pictures of 96 × 96 pixels in the style of emoji.
 *
 * @example
 * ```ts
 * import { EMBEDDED_MODEL, loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline(EMBEDDED_MODEL, { device: "cpu" });
 * console.log(pipe.info.name); // emoji
 * await pipe.dispose();
 * ```
 */
export const EMBEDDED_MODEL: URL = new URL("../../models/emoji/", import.meta.url);
