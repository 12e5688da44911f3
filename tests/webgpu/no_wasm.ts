/** Draws on the GPU with WebAssembly taken away. */
import "../support/gpu.ts";

delete (globalThis as { WebAssembly?: unknown }).WebAssembly;
const { Engine } = await import("../../src/pipeline/engine.ts");
const { resolveRequest } = await import("../../src/pipeline/request.ts");
const { path } = await import("../models/goldens.ts");

const engine = await Engine.load(path("models/emoji"), { device: "gpu" });
const options = {
  prompt: "a red apple",
  seed: 1,
  steps: 1,
  width: 32,
  height: 32,
  tokenMerging: { ratio: 0.5 },
};
const run = engine.run(resolveRequest(options, { model: engine.info, patch: null, previews: false }));
let next = await run.next();
while (!next.done) next = await run.next();
const { pictures: [{ width, height }], stats } = next.value;
await engine.dispose();
console.log(`drawn on ${stats.device}: ${width}×${height}`);
