/**
 * Token merging inside somebody else's transformer: a block of a vision transformer in plain TypeScript, whose
 * attention and MLP see half of the tokens. Prints how alike the results are and how many multiply-adds each took.
 * `deno run -A examples/vit_block.ts`, or `bun run examples/vit_block.ts`
 */
import { bipartiteSoftMatchingRandom2d, createBackend } from "tome-edge";

const [width, height, C, heads, hidden] = [24, 24, 48, 4, 192];
let multiplyAdds = 0;

/** [N, K] · [K, M] → [N, M] */
function matmul(a: Float32Array, b: Float32Array, K: number, M: number): Float32Array {
  const N = a.length / K, out = new Float32Array(N * M);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      for (let m = 0; m < M; m++) out[n * M + m] += a[n * K + k] * b[k * M + m];
    }
  }
  multiplyAdds += N * K * M;
  return out;
}

const transpose = (a: Float32Array, columns: number) =>
  a.map((_, i) => a[(i % (a.length / columns)) * columns + Math.floor(i / (a.length / columns))]);
const rows = (a: Float32Array, n: number) =>
  Array.from({ length: a.length / n }, (_, i) => a.subarray(i * n, i * n + n));
/** A random matrix that keeps the size of what goes through it. */
const weight = (K: number, M: number) =>
  Float32Array.from({ length: K * M }, () => (random() - 0.5) * Math.sqrt(12 / K));
let state = 1;
const random = () => (state = state * 16807 % 2147483647) / 2147483647;

function layerNorm(x: Float32Array): Float32Array {
  const out = x.slice();
  for (const row of rows(out, C)) {
    const mean = row.reduce((a, v) => a + v) / C;
    const deviation = Math.sqrt(row.reduce((a, v) => a + (v - mean) ** 2, 0) / C + 1e-6);
    row.forEach((v, c) => row[c] = (v - mean) / deviation);
  }
  return out;
}

const [wq, wk, wv, wo] = [weight(C, C), weight(C, C), weight(C, C), weight(C, C)];
function attention(x: Float32Array): Float32Array {
  const N = x.length / C, D = C / heads, out = new Float32Array(x.length);
  const [q, k, v] = [wq, wk, wv].map((w) => matmul(x, w, C, C));
  for (let h = 0; h < heads; h++) {
    const [qh, kh, vh] = [q, k, v].map((a) => a.filter((_, i) => Math.floor(i % C / D) === h)); // [N, D]
    const scores = matmul(qh, transpose(kh, D), D, N).map((s) => Math.exp(s / Math.sqrt(D)));
    for (const row of rows(scores, N)) {
      const sum = row.reduce((a, b) => a + b);
      row.forEach((s, i) => row[i] = s / sum);
    }
    matmul(scores, vh, N, D).forEach((a, i) => out[Math.floor(i / D) * C + h * D + i % D] = a);
  }
  return matmul(out, wo, C, C);
}

const [w1, w2] = [weight(C, hidden), weight(hidden, C)];
const mlp = (x: Float32Array) => matmul(matmul(x, w1, C, hidden).map((v) => Math.max(v, 0)), w2, hidden, C);

interface Maps {
  merge(x: Float32Array, channels: number): Promise<Float32Array>;
  unmerge(y: Float32Array, channels: number): Promise<Float32Array>;
}

async function block(x: Float32Array, { merge, unmerge }: Maps): Promise<Float32Array> {
  const a = await unmerge(attention(await merge(layerNorm(x), C)), C);
  const y = x.map((v, i) => v + a[i]);
  const m = await unmerge(mlp(await merge(layerNorm(y), C)), C);
  return y.map((v, i) => v + m[i]);
}

// A picture of a disc on a slope of grey, cut into patches of 4 × 4 pixels, embedded in C channels.
const pixel = (x: number, y: number) =>
  Math.hypot(x - 48, y - 48) < 28 ? 2 : (x + y) / 96 - 1 + 0.1 * Math.sin(x * y);
const patches = Float32Array.from({ length: width * height * 16 }, (_, i) => {
  const [patch, inside] = [Math.floor(i / 16), i % 16];
  return pixel(patch % width * 4 + inside % 4, Math.floor(patch / width) * 4 + Math.floor(inside / 4));
});
const x = matmul(patches, weight(16, C), 16, C); // [N, C]

const same: Maps = { merge: (x) => Promise.resolve(x), unmerge: (y) => Promise.resolve(y) };
multiplyAdds = 0;
const full = await block(x, same);
const all = multiplyAdds;

const backend = await createBackend("cpu");
const r = width * height / 2;
const plan = await bipartiteSoftMatchingRandom2d(backend, x, { batch: 1, width, height, channels: C, r });
multiplyAdds = width * height * 3 / 4 * (width * height / 4) * C; // the matching: ¾N sources · ¼N destinations
const half = await block(x, plan);
await backend.dispose();

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);
const likeness = dot(full, half) / Math.sqrt(dot(full, full) * dot(half, half));
console.log(`${width * height} tokens, ${plan.r} merged: cosine likeness ${likeness.toFixed(4)}`);
console.log(
  `multiply-adds: ${(all / 1e6).toFixed(1)} M → ${(multiplyAdds / 1e6).toFixed(1)} M with matching`,
);
