/** The kernels that benchmarks time, at Stable Diffusion 1.5's shapes, each with a scalar check of its result. */
import type { Backend, HostTensor, Tensor } from "../src/backend/backend.ts";

export interface Prepared {
  /** Runs the kernel once and leaves nothing behind. */
  run(): void;
  /** The largest difference to a scalar result, over a sample of the output, and the most that it may be. */
  verify(): Promise<{ difference: number; limit: number }>;
}

export interface Case {
  name: string;
  /** Floating-point operations, a multiply-add being two. */
  flops: number;
  /** Bytes read and written at least, where those count instead. */
  bytes?: number;
  prepare(backend: Backend): Prepared;
}

const SAMPLES = 200;

let state = 1;
/** Uniform in −1..1; the same at every run. */
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return state / 2 ** 31;
}
export const randoms = (length: number, scale = 1) => Float32Array.from({ length }, () => random() * scale);
const pick = (n: number) => Math.floor((random() + 1) / 2 * n) % n;

function hostTensor(data: Float32Array, shape: number[]): HostTensor {
  return { name: "weight", dtype: "F32", shape, data: new Uint8Array(data.buffer) };
}

/** The largest difference over random positions of a tensor. */
async function sample(
  backend: Backend,
  { make, expected, limit }: { make: () => Tensor; expected: (at: number) => number; limit: number },
) {
  const x = make();
  const values = await backend.read(x);
  backend.free(x);
  let difference = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const at = pick(values.length);
    difference = Math.max(difference, Math.abs(values[at] - expected(at)));
  }
  return { difference, limit };
}

function prepared(backend: Backend, make: () => Tensor, expected: (at: number) => number, limit: number) {
  return {
    run: () => backend.free(make()),
    verify: () => sample(backend, { make, expected, limit }),
  };
}

function linearCase(rows: number, depth: number, cols: number): Case {
  return {
    name: `linear ${rows}×${depth}×${cols}`,
    flops: 2 * rows * depth * cols,
    prepare(backend) {
      const x = randoms(rows * depth);
      const w = randoms(cols * depth, 1 / Math.sqrt(depth));
      const bias = randoms(cols);
      const input = backend.upload(x, [rows, depth]);
      const weight = backend.linearWeight([hostTensor(w, [cols, depth])], [hostTensor(bias, [cols])]);
      return prepared(backend, () => backend.linear(input, weight), (at) => {
        const m = Math.floor(at / cols), n = at % cols;
        let sum = bias[n];
        for (let k = 0; k < depth; k++) sum += x[m * depth + k] * w[n * depth + k];
        return sum;
      }, 1e-4);
    },
  };
}

function convCase(side: number, cin: number, cout: number): Case {
  return {
    name: `conv 3×3 ${side}×${side} ${cin}→${cout}`,
    flops: 2 * side * side * 9 * cin * cout,
    prepare(backend) {
      const x = randoms(side * side * cin);
      const w = randoms(cout * cin * 9, 1 / Math.sqrt(9 * cin));
      const input = backend.upload(x, [1, side, side, cin]);
      const weight = backend.convWeight(hostTensor(w, [cout, cin, 3, 3]));
      return prepared(backend, () => backend.conv2d(input, weight), (at) => {
        const n = at % cout, px = Math.floor(at / cout) % side, py = Math.floor(at / cout / side);
        let sum = 0;
        for (let tap = 0; tap < 9; tap++) {
          const y = py + Math.floor(tap / 3) - 1, xx = px + tap % 3 - 1;
          if (y < 0 || xx < 0 || y >= side || xx >= side) continue;
          for (let c = 0; c < cin; c++) sum += x[(y * side + xx) * cin + c] * w[(n * cin + c) * 9 + tap];
        }
        return sum;
      }, 1e-4);
    },
  };
}

function attentionCase(queries: number, keys: number, heads: number, depth: number): Case {
  return {
    name: `attention ${queries}×${keys} ${heads}×${depth}`,
    flops: 4 * queries * keys * heads * depth,
    prepare(backend) {
      const channels = heads * depth;
      const q = randoms(queries * channels, 3);
      const k = randoms(keys * channels, 3);
      const v = randoms(keys * channels);
      const tensors = [q, k, v].map((x) => backend.upload(x, [1, x.length / channels, channels]));
      return prepared(
        backend,
        () => backend.attention(tensors[0], tensors[1], tensors[2], { heads }),
        (at) => {
          const row = Math.floor(at / channels) * channels, c = at % channels, head = c - c % depth;
          const scores = Float64Array.from({ length: keys }, (_, j) => {
            let dot = 0;
            for (let d = head; d < head + depth; d++) dot += q[row + d] * k[j * channels + d];
            return dot / Math.sqrt(depth);
          });
          const most = scores.reduce((a, b) => Math.max(a, b));
          let sum = 0, total = 0;
          for (let j = 0; j < keys; j++) {
            const p = Math.exp(scores[j] - most);
            total += p;
            sum += p * v[j * channels + c];
          }
          return sum / total;
        },
        1e-4,
      );
    },
  };
}

/** What reads a tensor and writes one: `expected` is the result at a row and channel of [rows, cols]. */
function movingCase(
  name: string,
  { rows, cols, make, expected, bytes = 8 * rows * cols }: {
    rows: number;
    cols: number;
    make: (backend: Backend) => (x: Tensor) => Tensor;
    expected: (x: Float32Array, at: number) => number;
    bytes?: number;
  },
): Case {
  return {
    name: `${name} ${rows}×${cols}`,
    flops: 0,
    bytes,
    prepare(backend) {
      const x = randoms(rows * cols, 3);
      const input = backend.upload(x, [1, rows, cols]);
      const kernel = make(backend);
      return prepared(backend, () => kernel(input), (at) => expected(x, at), 1e-5);
    },
  };
}

const normWeight = (backend: Backend, cols: number) =>
  backend.normWeight(
    hostTensor(new Float32Array(cols).fill(1), [cols]),
    hostTensor(new Float32Array(cols), [cols]),
  );

/** (x − mean) / √(var + eps) over the values at `places`. */
function normalised(x: Float32Array, at: number, places: number[]): number {
  let mean = 0, variance = 0;
  for (const i of places) mean += x[i] / places.length;
  for (const i of places) variance += (x[i] - mean) ** 2 / places.length;
  return (x[at] - mean) / Math.sqrt(variance + 1e-5);
}

const range = (length: number, value: (i: number) => number) => Array.from({ length }, (_, i) => value(i));

function layerNormCase(rows: number, cols: number): Case {
  return movingCase("layer norm", {
    rows,
    cols,
    make: (backend) => {
      const weight = normWeight(backend, cols);
      return (x) => backend.layerNorm(x, weight, { eps: 1e-5 });
    },
    expected: (x, at) => normalised(x, at, range(cols, (c) => at - at % cols + c)),
  });
}

function groupNormCase(rows: number, cols: number): Case {
  const width = cols / 32;
  return movingCase("group norm + silu", {
    rows,
    cols,
    // The statistics read the tensor once more.
    bytes: 12 * rows * cols,
    make: (backend) => {
      const weight = normWeight(backend, cols);
      return (x) => backend.groupNorm(x, weight, { groups: 32, eps: 1e-5, silu: true });
    },
    expected: (x, at) => {
      const first = at % cols - at % cols % width;
      const places = range(rows * width, (i) => Math.floor(i / width) * cols + first + i % width);
      const y = normalised(x, at, places);
      return y / (1 + Math.exp(-y));
    },
  });
}

/** erf by Taylor's series: exact to 1e-13 for |x| ≤ 3. */
function erf(x: number): number {
  let term = x, sum = x;
  for (let n = 1; n < 60; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

function gegluCase(rows: number, cols: number): Case {
  const half = cols / 2;
  return movingCase("geglu", {
    rows,
    cols,
    bytes: 6 * rows * cols,
    make: (backend) => (x) => backend.geglu(x),
    expected: (x, at) => {
      const value = Math.floor(at / half) * cols + at % half;
      const gate = x[value + half];
      return x[value] * gate * 0.5 * (1 + erf(gate / Math.SQRT2));
    },
  });
}

/** Cells of 2×2, the top left token of each a destination; checked by the similarity that it found. */
function matchCase(side: number, channels: number): Case {
  const sources = side * side * 3 / 4;
  return {
    name: `match ${sources}×${sources / 3}×${channels}`,
    flops: 2 * sources * sources / 3 * channels,
    prepare(backend) {
      const metric = randoms(side * side * channels);
      const x = backend.upload(metric, [1, side * side, channels]);
      const grid = { height: side, width: side, sx: 2, sy: 2 };
      const token = (n: number) => {
        const row = metric.subarray(n * channels, (n + 1) * channels);
        const norm = Math.hypot(...row);
        return Float64Array.from(row, (v) => v / norm);
      };
      return {
        run: () => backend.free(backend.match(x, { ...grid, r: side * side / 2 })),
        async verify() {
          const { nodeMax } = await backend.bestMatches(x, grid);
          let difference = 0;
          for (const source of [0, 1, side / 4 - 1, side / 2 - 1]) { // of row 0: its odd columns
            const a = token(2 * source + 1);
            let best = -1;
            for (let d = 0; d < sources / 3; d++) {
              const b = token(2 * Math.floor(2 * d / side) * side + 2 * d % side);
              best = Math.max(best, a.reduce((sum, v, c) => sum + v * b[c], 0));
            }
            difference = Math.max(difference, Math.abs(best - nodeMax[source]));
          }
          return { difference, limit: 1e-5 };
        },
      };
    },
  };
}

const halves = (backend: Backend, tokens: number) =>
  backend.planFrom({ rowOf: Int32Array.from({ length: tokens }, (_, n) => n * 37 % (tokens / 2)) }, {
    batch: 1,
    tokens,
    merged: tokens / 2,
  });

/** Half of the tokens stay, each row two tokens that lie far apart: 37 is odd, so n ↦ 37n mod 2ᵏ is a permutation. */
function mergeCase(rows: number, cols: number): Case {
  const kept = rows / 2;
  return movingCase("merge", {
    rows,
    cols,
    bytes: 6 * rows * cols,
    make: (backend) => {
      const plan = halves(backend, rows);
      return (x) => backend.merge(plan, x);
    },
    expected: (x, at) => {
      const row = Math.floor(at / cols), c = at % cols;
      const first = range(kept, (n) => n).find((n) => n * 37 % kept === row)!;
      return (x[first * cols + c] + x[(first + kept) * cols + c]) / 2;
    },
  });
}

function unmergeCase(rows: number, cols: number): Case {
  const kept = rows / 2;
  return movingCase("unmerge + residual", {
    rows,
    cols,
    bytes: 10 * rows * cols,
    make: (backend) => {
      const plan = halves(backend, rows);
      const firstHalf = (x: Tensor) => backend.rows(backend.reshape(x, [2, kept, cols]), 0, 1);
      return (x) => backend.unmerge(plan, firstHalf(x), x);
    },
    expected: (x, at) => x[Math.floor(at / cols) * 37 % kept * cols + at % cols] + x[at],
  });
}

/** At 512², or with the feature maps `shrink` times smaller on both sides. */
export function sd15Cases(shrink: 1 | 2 | 4 = 1): Case[] {
  const [s64, s32, s16, s8] = [64, 32, 16, 8].map((side) => side / shrink);
  return [
    linearCase(s64 ** 2, 320, 320),
    linearCase(s64 ** 2, 320, 2560),
    linearCase(s32 ** 2, 640, 640),
    linearCase(s16 ** 2, 1280, 1280),
    convCase(s64, 320, 320),
    convCase(s8, 1280, 1280),
    attentionCase(s64 ** 2, s64 ** 2, 8, 40),
    attentionCase(s32 ** 2, s32 ** 2, 8, 80),
    attentionCase(s16 ** 2, s16 ** 2, 8, 160),
    attentionCase(s64 ** 2, 77, 8, 40),
    attentionCase(s64 ** 2, s64 ** 2, 1, 512),
    layerNormCase(s64 ** 2, 320),
    layerNormCase(s16 ** 2, 1280),
    groupNormCase(s64 ** 2, 320),
    groupNormCase(s32 ** 2, 640),
    groupNormCase(s8 ** 2, 1280),
    gegluCase(s64 ** 2, 2560),
    gegluCase(s16 ** 2, 10240),
    matchCase(s64, 320),
    matchCase(s32, 640),
    mergeCase(s64 ** 2, 320),
    unmergeCase(s64 ** 2, 320),
  ];
}
