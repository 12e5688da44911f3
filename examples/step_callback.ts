/**
 * Looks at every step: saves a preview of each, and stops once the picture changes no more.
 * `deno run -A examples/step_callback.ts`, or `bun run examples/step_callback.ts`
 */
import { writeFile } from "node:fs/promises";
import { AbortError, type Image, loadPipeline, type Step } from "tome-edge";

const enough = 0.5; // of 255, the mean change of a pixel from one step to the next
const controller = new AbortController();
let last: Image | undefined;

function onStep({ index, total, preview }: Step): void {
  const [picture] = preview(); // what the finished picture will look like, roughly
  const change = last ? meanDifference(picture.data, last.data) : Infinity;
  console.log(`step ${index} of ${total}: changed by ${change.toFixed(2)}`);
  last = picture;
  if (change < enough) controller.abort();
}

const pipe = await loadPipeline();
try {
  await pipe.generate({ prompt: "a panda face", seed: 7, steps: 50, onStep, signal: controller.signal });
  console.log("ran to the end");
} catch (error) {
  if (!(error instanceof AbortError)) throw error;
  console.log("stopped early");
}
await writeFile("preview.png", last!.png());
await pipe.dispose();

function meanDifference(a: Uint8ClampedArray, b: Uint8ClampedArray): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;
}
