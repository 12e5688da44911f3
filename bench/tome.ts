/**
 * What token merging costs at Stable Diffusion 1.5's outer blocks, beside what it is to save: the self-attention
 * layer with its projections, and the speed at which memory is copied. One thread by the process's CPU time,
 * several by the clock.
 */
import { Op } from "../asm/op.ts";
import type { HostTensor, Tensor } from "../src/backend/backend.ts";
import { createWasmBackend, type WasmBackend } from "../src/backend/wasm/backend.ts";
import { cellCount } from "../src/backend/token_lists.ts";
import { median, milliseconds, type Report } from "./measure.ts";

/** ms of one measurement at least, and how many of them the median is taken over. */
const SLICE = 60;
const ROUNDS = 9;

let state = 1;
const randoms = (length: number, scale = 1) =>
  Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return scale * state / 2 ** 31;
  });

/** ms of one call of each, measured in turns. */
function times(runs: Record<string, () => void>, threads: number): Record<string, number> {
  const found = Object.fromEntries(Object.keys(runs).map((name) => [name, [] as number[]]));
  for (let round = -2; round < ROUNDS; round++) {
    for (const [name, run] of Object.entries(runs)) {
      const start = milliseconds(threads);
      let calls = 0, end = start;
      while (end - start < SLICE) {
        run();
        calls++;
        end = milliseconds(threads);
      }
      if (round >= 0) found[name].push((end - start) / calls); // V8 compiles anew while the first calls run.
    }
  }
  return Object.fromEntries(
    Object.entries(found).map(([name, ms]) => [name, median(ms)]),
  );
}

/** `select` alone, on matches made up at random. */
function selectAlone(backend: WasmBackend, { tokens, destinations, r }: Record<string, number>): () => void {
  const { host } = backend;
  const sources = tokens - destinations;
  const block = (values: ArrayLike<number>, floats = false) => {
    const at = host.allocBytes(4 * values.length);
    (floats ? host.f32 : host.i32).set(values, at / 4);
    return at;
  };
  const words = [
    block(randoms(sources), true),
    block(randoms(sources).map((v) => Math.floor((v + 1) / 2 * destinations) % destinations)),
    block(Int32Array.from({ length: sources }, (_, i) => i)),
    block(Int32Array.from({ length: destinations }, (_, i) => sources + i)),
    block(new Int32Array(tokens)),
    block(new Int32Array(tokens - r + 1)),
    block(new Int32Array(tokens)),
    tokens,
    destinations,
    r,
  ];
  return () => host.run(Op.Select, 1, words);
}

function prepare(backend: WasmBackend, side: number, channels: number, heads: number) {
  const tokens = side * side;
  const grid = { height: side, width: side, sx: 2, sy: 2 };
  const r = tokens / 2;
  const destinations = cellCount(grid);
  const metric = randoms(tokens * channels);
  const x = backend.upload(metric, [1, tokens, channels]);
  const host = (outputs: number): HostTensor => ({
    name: "weight",
    dtype: "F32",
    shape: [outputs, channels],
    data: new Uint8Array(randoms(outputs * channels, 1 / Math.sqrt(channels)).buffer),
  });
  const qkv = backend.linearWeight([host(3 * channels)]), out = backend.linearWeight([host(channels)]);
  const plan = backend.match(x, { ...grid, r });
  const y = backend.merge(plan, x);
  const scoped = (make: () => Tensor) => () => backend.scope(() => void make());
  const runs: Record<string, () => void> = {
    match: () => backend.free(backend.match(x, { ...grid, r })),
    select: selectAlone(backend, { tokens, destinations, r }),
    merge: scoped(() => backend.merge(plan, x)),
    unmerge: scoped(() => backend.unmerge(plan, y)),
    "unmerge + residual": scoped(() => backend.unmerge(plan, y, x)),
    copy: scoped(() => backend.lincomb([[1, x]])),
    "attention layer": scoped(() => {
      const all = backend.linear(x, qkv);
      const [q, k, v] = [0, 1, 2].map((i) => backend.columns(all, i * channels, (i + 1) * channels));
      return backend.linear(backend.attention(q, k, v, { heads }), out, { residual: x });
    }),
  };
  const matrix = 4 * tokens * channels, kept = matrix * (tokens - r) / tokens;
  const bytes: Record<string, number> = {
    merge: matrix + kept,
    unmerge: kept + matrix,
    "unmerge + residual": kept + 2 * matrix,
    copy: 2 * matrix,
  };
  return { runs, bytes, flops: 2 * (tokens - destinations) * destinations * channels, grid, metric, x };
}

/** The largest difference of a few best similarities to scalar ones. */
async function verify(
  backend: WasmBackend,
  p: ReturnType<typeof prepare>,
  channels: number,
): Promise<number> {
  const { nodeMax } = await backend.bestMatches(p.x, p.grid);
  const unit = (n: number) => {
    const row = p.metric.subarray(n * channels, (n + 1) * channels);
    const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
    return Float64Array.from(row, (v) => v / norm);
  };
  const { width } = p.grid;
  let worst = 0;
  for (const source of [0, 1, 15, 40]) {
    // With the top left tokens as destinations: a source in row 0 is an odd column, row 1 holds only sources.
    const perRow = width / 2;
    const token = source < perRow ? 2 * source + 1 : width + source - perRow;
    const a = unit(token);
    let best = -Infinity;
    for (let y = 0; y < p.grid.height; y += 2) {
      for (let x = 0; x < width; x += 2) {
        best = Math.max(best, unit(y * width + x).reduce((sum, v, c) => sum + v * a[c], 0));
      }
    }
    worst = Math.max(worst, Math.abs(best - nodeMax[source]));
  }
  return worst;
}

export async function run(report: Report): Promise<void> {
  const option = (name: string) =>
    process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const kernels = option("kernels") as "fast" | "strict" | undefined;
  const cores = Number(option("threads") ?? navigator.hardwareConcurrency);
  for (const threads of cores > 1 ? [1, cores] : [1]) {
    for (const [side, channels, heads] of [[64, 320, 8], [32, 640, 8]]) {
      const backend = await createWasmBackend({ threads, kernels });
      const p = prepare(backend, side, channels, heads);
      const difference = await verify(backend, p, channels);
      if (!(difference <= 1e-5)) {
        throw new Error(`Cannot time match: expected a difference of at most 1e-5, found ${difference}`);
      }
      report.line(`\n${backend.description}; ${side}×${side} tokens, ${channels} channels, r 50 %`);
      const ms = times(p.runs, threads);
      for (const [name, time] of Object.entries(ms)) {
        const share = time / ms["attention layer"];
        const speed = name === "match"
          ? `${(p.flops / time / 1e6).toFixed(1)} GFLOP/s`
          : p.bytes[name]
          ? `${(p.bytes[name] / time / 1e6).toFixed(1)} GB/s`
          : "";
        report.row({ kernel: name, threads, side, channels, ms: time, share });
        report.line(
          `${name.padEnd(20)} ${time.toFixed(3).padStart(9)} ms  ${
            (100 * share).toFixed(2).padStart(6)
          }% of the layer  ${speed}`,
        );
      }
      await backend.dispose();
    }
  }
}
