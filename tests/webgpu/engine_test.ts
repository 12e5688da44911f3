/** Whole pictures on the GPU: what a step costs the queue, what a lost device and a small one do to a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createWebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import { loadModel } from "../../src/pipeline/model.ts";
import { placeGpu } from "../../src/backend/webgpu/adapter.ts";
import { Engine } from "../../src/pipeline/engine.ts";
import type { GenerateOptions } from "../../src/pipeline/options.ts";
import { resolveRequest } from "../../src/pipeline/request.ts";
import { unetForward } from "../../src/models/unet.ts";
import { path } from "../models/goldens.ts";
import { disguise, watchQueue, withGpu } from "../support/fake_gpu.ts";
import { GPU_TYPES, hasGpu } from "../support/gpu.ts";
import { randomArray } from "../support/random.ts";

/** As small as the network takes: software drivers compute it. */
const OPTIONS = { prompt: "a 3d icon of a red apple", seed: 1, steps: 2, width: 32, height: 32 };

async function draw(engine: Engine, options: GenerateOptions, onStep = () => {}) {
  const request = resolveRequest(options, { model: engine.info, patch: null, previews: false });
  const run = engine.run(request);
  let next = await run.next();
  for (; !next.done; next = await run.next()) onStep();
  return next.value;
}

/** The largest difference of two pictures, in 255ths. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return Array.from(a).reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);
}

if (hasGpu) {
  for (const [name, type] of Object.entries(GPU_TYPES)) {
    test(`a network call again maps nothing and makes no buffer, bind group or pipeline, ${name}`, async () => {
      const b = await createWebgpuBackend(type);
      try {
        const { unet } = await loadModel(b, path("models/emoji"));
        const { counters, device } = b.host.recorder;
        const events = watchQueue(device);
        const latents = randomArray(8 * 8 * 4, 1),
          tokens = randomArray(77 * unet.config.cross_attention_dim, 2);
        const x = b.upload(latents, [1, 8, 8, 4]);
        const context = b.upload(tokens, [1, 77, unet.config.cross_attention_dim]);
        const call = (step: number) =>
          b.scope(() => {
            const tome = { ratio: 0.5, sx: 2, sy: 2, maxDownsample: 1, useRand: true } as never;
            unetForward(b, unet, x, {
              timestep: 900 - step,
              context,
              merging: { options: tome, latentHeight: 8, latentWidth: 8, seeds: [1], branches: 1, step },
            });
          });
        const seen: (typeof counters)[] = [], submits: number[] = [];
        const bytes: number[] = [];
        for (let step = 0; step < 3; step++) {
          events.length = 0;
          call(step);
          b.host.recorder.flush();
          await b.host.recorder.settled();
          seen.push({ ...counters });
          assert.ok(!events.includes("map"), "a call reads nothing back");
          submits.push(events.length);
          bytes.push(b.host.pool.bytes);
        }
        const [first, second, third] = seen;
        assert.ok(first.dispatches > 50 && first.bindGroups > 50);
        for (const kind of ["maps", "bindGroups", "buffers", "pipelines"] as const) {
          assert.equal(second[kind], first[kind], `${kind} in the second call`);
          assert.equal(third[kind], first[kind], `${kind} in the third call`);
        }
        assert.deepEqual(bytes, [bytes[0], bytes[0], bytes[0]]);
        assert.equal(third.dispatches - second.dispatches, second.dispatches - first.dispatches);
        // A submission ends after 64 dispatches, and before what the host writes: the timestep, destinations.
        assert.deepEqual(submits, [submits[0], submits[0], submits[0]]);
        assert.ok(submits[0] <= first.dispatches / 64 + 16, `${submits[0]} submissions`);
        await b.read(x); // no error came late
      } finally {
        await b.dispose();
      }
    });
  }

  test("a model's kernels are compiled when it is loaded, each once, and a step waits for the device at its end", async () => {
    const { gpu, devices } = disguise(await placeGpu() as GPU);
    await withGpu(gpu, async () => {
      const pipelines: string[] = [];
      const requestAdapter = gpu.requestAdapter.bind(gpu);
      gpu.requestAdapter = async (options) => {
        const adapter = (await requestAdapter(options))!;
        const requestDevice = adapter.requestDevice.bind(adapter);
        adapter.requestDevice = async (descriptor) => {
          const device = await requestDevice(descriptor);
          const create = device.createComputePipelineAsync.bind(device);
          device.createComputePipelineAsync = (d) => {
            // Subgroups are looked for with two first lines.
            if (d.label !== "subgroup_check") {
              pipelines.push(`${d.label} ${JSON.stringify(d.compute.constants ?? {})}`);
            }
            return create(d);
          };
          device.createComputePipeline = () => assert.fail("a pipeline was made at once");
          return device;
        };
        return adapter;
      };
      const engine = await Engine.load(path("models/emoji"), { device: "gpu" });
      try {
        assert.ok(pipelines.length > 30, `${pipelines.length} pipelines`);
        assert.equal(new Set(pipelines).size, pipelines.length);
        const loaded = [...pipelines];
        const events = watchQueue(devices[0]), steps: string[][] = [];
        await draw(engine, { ...OPTIONS, steps: 3, tokenMerging: { ratio: 0.5 } }, () => {
          steps.push(events.splice(0));
        });
        assert.deepEqual(pipelines, loaded);
        const [, second, third] = steps; // with the first is the text encoder
        assert.equal(steps.length, 3);
        assert.deepEqual(third, second);
        assert.deepEqual(second.filter((event) => event === "map"), ["map"]);
        assert.equal(second[second.length - 1], "map");
        assert.ok(second.length <= 32, `${second.length - 1} submissions`);
      } finally {
        await engine.dispose();
      }
    });
  });

  test("with auto, a run that loses its GPU begins again with the same seed, on a fresh one and then on the CPU", async () => {
    const once = { ...OPTIONS, steps: 1 };
    const { gpu, devices } = disguise(await placeGpu() as GPU);
    await withGpu(gpu, async () => {
      const engine = await Engine.load(path("models/emoji"), { device: "auto", threads: 1 });
      try {
        const whole = await draw(engine, once);
        assert.deepEqual(whole.warnings, []);
        assert.match(whole.stats.device, /^GPU/);
        let steps = 0;
        const fresh = await draw(engine, once, () => ++steps === 1 && devices[0].destroy());
        assert.equal(devices.length, 2);
        assert.match(fresh.warnings[0], /lost.*; drawn again on GPU/);
        assert.deepEqual(fresh.pictures[0].data, whole.pictures[0].data);
        const onCpu = await draw(engine, once, () => devices[devices.length - 1].destroy());
        assert.match(onCpu.stats.device, /^CPU/);
        assert.equal(onCpu.warnings.length, 2);
        assert.ok(difference(onCpu.pictures[0].data, whole.pictures[0].data) <= 4);
      } finally {
        await engine.dispose();
      }
    });
  });

  test("a picture too large for the device is refused with the limit and the largest size that fits", async () => {
    const limits = { maxStorageBufferBindingSize: 2 ** 22, maxBufferSize: 2 ** 24 };
    const { gpu } = disguise(await placeGpu() as GPU, { limits });
    await withGpu(gpu, async () => {
      const engine = await Engine.load(path("models/emoji"), { device: "gpu" });
      try {
        const refusal = await draw(engine, { ...OPTIONS, width: 2048, height: 1024 }).then(
          () => assert.fail("it was drawn"),
          (error) => error,
        );
        assert.ok(refusal instanceof RangeError);
        assert.match(refusal.message, /maxStorageBufferBindingSize = 4194304 bytes/);
        const [, width, height] = refusal.message.match(/at most (\d+)×(\d+)/)!.map(Number);
        // The same aspect, to a latent pixel of four.
        assert.ok(width > 64 && width < 2048 && Math.abs(height - width / 2) < 4, refusal.message);
      } finally {
        await engine.dispose();
      }
    });
  });
}
