/**
 * Token merging by itself, around a layer of your own: plain arrays in, plain arrays out.
 * `deno run -A examples/merge_tokens.ts`, or `bun run examples/merge_tokens.ts`
 */
import { bipartiteSoftMatchingRandom2d, createBackend } from "tome-edge";

const [width, height, channels] = [16, 16, 32];
const x = Float32Array.from({ length: width * height * channels }, (_, i) => Math.sin(i * 0.1)); // [1, N, C]

const backend = await createBackend("cpu");
const plan = await bipartiteSoftMatchingRandom2d(backend, x, {
  batch: 1,
  width,
  height,
  channels,
  r: 128, // of 256 tokens
  seed: 1,
});
const merged = await plan.merge(x, channels); // [1, N - r, C]
const doubled = merged.map((v) => 2 * v); // your layer, on half of the tokens
const restored = await plan.unmerge(doubled, channels); // [1, N, C]
console.log(`${x.length / channels} tokens → ${merged.length / channels} → ${restored.length / channels}`);
await backend.dispose();
