import { fileURLToPath } from "node:url";
import type { Backend, HostTensor } from "../src/backend/backend.ts";
import { countWork, WorkLog } from "../src/backend/count.ts";
import { WebgpuBackend } from "../src/backend/webgpu/backend.ts";
import { GpuHost } from "../src/backend/webgpu/host.ts";
import type { UnetConfig } from "../src/checkpoint/configs.ts";
import { openModelFolder } from "../src/checkpoint/folder.ts";
import { EMBEDDED_MODEL } from "../src/mod.ts";
import { loadUnet, type Unet, unetForward } from "../src/models/unet.ts";
import type { WeightSource } from "../src/nn/weights.ts";
import { checkTokenMerging } from "../src/tome/options.ts";
import type { Report } from "./measure.ts";
import { paperDevice } from "./paper_device.ts";
import { SD15 } from "./step.ts";
import { countTraffic, type Traffic } from "./traffic.ts";

/**
 * What one step of the UNet (batch 2, guidance) asks of a GPU in f16, counted on a device that computes nothing:
 * multiply-adds; bytes, every tensor and weight of every operation once; dispatches; submissions; the memory of
 * activations. A second step of the same shape must make no buffer and no bind group.
 */
export async function stepTable(report: Report): Promise<void> {
  const emoji = (await openModelFolder(fileURLToPath(EMBEDDED_MODEL))).unet;
  report.line("\nOne step of the UNet with guidance (batch 2) in f16, counted:");
  report.line(
    "model   size  ratio    GFLOP  GB moved  of them weights  dispatches  submissions  activations",
  );
  for (
    const { model, config, factor, contextTokens, sizes } of [
      { model: "emoji", config: emoji, factor: 4, contextTokens: 32, sizes: [96, 256, 512] },
      { model: "sd15", config: SD15, factor: 8, contextTokens: 77, sizes: [512, 1024] },
    ]
  ) {
    const host = new GpuHost(paperDevice(), { f16: true });
    const log = new WorkLog(), traffic: Traffic = { calls: 0, elements: 0, weights: 0 };
    const b = countTraffic(countWork(new WebgpuBackend(host, "on paper"), log), traffic);
    const unet = await loadUnet(b, ZEROS, config);
    for (const size of sizes) {
      for (const ratio of [0, 0.5]) {
        const step = () => forward(b, unet, { config, size: size / factor, contextTokens, ratio });
        b.peakBytes(true);
        await step();
        await host.recorder.settled();
        log.clear();
        Object.assign(traffic, { calls: 0, elements: 0, weights: 0 });
        const before = { ...host.recorder.counters };
        await step();
        await host.recorder.settled();
        const { counters } = host.recorder;
        // Reading the result takes a buffer for each map.
        const made = counters.buffers - before.buffers - (counters.maps - before.maps) +
          counters.bindGroups - before.bindGroups;
        if (made > 0) throw new Error(`Cannot count: expected a second step to make nothing, found ${made}`);
        const row = {
          model,
          size,
          ratio,
          gflop: 2 * log.multiplyAdds / 1e9,
          gbytes: 2 * (traffic.elements + traffic.weights) / 1e9,
          weights: 2 * traffic.weights / 1e9,
          dispatches: counters.dispatches - before.dispatches,
          submissions: counters.submits - before.submits,
          activations: b.peakBytes(),
        };
        report.row(row);
        report.line(
          `${model.padEnd(6)} ${`${size}`.padStart(5)} ${ratio.toFixed(1).padStart(6)} ${
            row.gflop.toFixed(1).padStart(8)
          } ${row.gbytes.toFixed(2).padStart(9)} ${row.weights.toFixed(2).padStart(16)} ${
            `${row.dispatches}`.padStart(11)
          } ${`${row.submissions}`.padStart(12)} ${(row.activations / 2 ** 20).toFixed(0).padStart(8)} MiB`,
        );
      }
    }
    await b.dispose();
  }
}

const zeros = new Uint8Array(2 * 2560 * 1280 * 9); // the largest weight of Stable Diffusion 1.5
const ZEROS: WeightSource = {
  take: (name, shape): HostTensor => {
    const bytes = 2 * shape.reduce((a, n) => a * n, 1);
    return { name, dtype: "F16", shape, data: zeros.subarray(0, bytes) };
  },
};

async function forward(
  b: Backend,
  unet: Unet,
  { config, size, contextTokens, ratio }: {
    config: UnetConfig;
    size: number;
    contextTokens: number;
    ratio: number;
  },
): Promise<void> {
  const options = checkTokenMerging({ ratio });
  const merging = { options, latentHeight: size, latentWidth: size, seeds: [1], branches: 2, step: 0 };
  const y = b.scope(() => {
    const x = b.empty([2, size, size, config.in_channels]);
    const context = b.empty([2, contextTokens, config.cross_attention_dim]);
    return unetForward(b, unet, x, { timestep: 481, context, merging: ratio > 0 ? merging : undefined });
  });
  await b.read(y);
  b.free(y);
}
