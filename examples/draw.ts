/** Draws one picture, half of its tokens merged: `deno run -A examples/draw.ts`, or `bun run examples/draw.ts`. */
import { writeFile } from "node:fs/promises";
import { applyPatch, loadPipeline } from "tome-edge";

const pipe = await loadPipeline(); // the embedded model; or your own diffusers folder
applyPatch(pipe, { ratio: 0.5 });
const { images, stats } = await pipe.generate({
  prompt: "a 3d icon of a red apple on a sky blue background",
  seed: 3,
});
await writeFile("apple.png", images[0].png());
console.log(`apple.png: ${stats.networkCalls} network calls in ${stats.seconds.denoise.toFixed(1)} s`);
await pipe.dispose();
