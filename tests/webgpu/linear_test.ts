/** Products on the GPU: the tiles, slices and parts that the sizes of tests/ops do not reach. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Backend, HostTensor, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import type { WebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import { cutProduct, product, type Tile, TILES } from "../../src/backend/webgpu/linear.ts";
import type { GpuTensor } from "../../src/backend/webgpu/runtime.ts";
import { convWeight, linearWeight } from "../../src/backend/webgpu/weights.ts";
import { DeviceError } from "../../src/errors.ts";
import { assertClose } from "../support/assert_close.ts";
import { gpuBackends } from "../support/gpu.ts";
import { hostTensor, randomHost } from "../support/host.ts";
import { randomArray } from "../support/random.ts";

const all = await gpuBackends({ poison: true });
const reference = createReferenceBackend();
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

function onEvery(name: string, body: (b: WebgpuBackend) => Promise<void>): void {
  for (const [device, b] of Object.entries(all)) test(`${name}, on ${device}`, () => body(b));
}

/** A result is rounded to a half (2⁻¹¹) where F is f16; operands are compared as the device holds them. */
const toleranceOf = (b: WebgpuBackend) => ({ atol: 6e-6, rtol: b.host.f16 ? 2 ** -11 + 4e-6 : 4e-6 });

/** Halves, which every device holds exactly, such that outputs are of size 1. */
const weightOf = (shape: number[], seed: number): HostTensor =>
  randomHost("w", shape, {
    seed,
    dtype: "F16",
    gain: 1 / Math.sqrt(shape.slice(1).reduce((a, n) => a * n, 1)),
  });

interface Problem {
  shapes: number[][];
  op: (b: Backend, inputs: Tensor[]) => Tensor;
}

async function check(b: WebgpuBackend, label: string, { shapes, op }: Problem): Promise<void> {
  const inputs = shapes.map((shape, i) =>
    b.upload(randomArray(shape.reduce((a, n) => a * n, 1), i + 1), shape)
  );
  const held: Tensor[] = [];
  for (const x of inputs) held.push(reference.upload(await b.read(x), x.shape));
  const out = op(b, inputs);
  const want = op(reference, held);
  assertClose(await b.read(out), await reference.read(want), { ...toleranceOf(b), label, shape: want.shape });
  for (const x of [...inputs, out]) b.free(x);
}

/** How products of these sizes are cut. */
const CUTS: {
  rows: [images: number, rows: number];
  cin: number;
  cout: number;
  tile: string;
  slices: number;
}[] = [
  { rows: [2, 2300], cin: 8, cout: 1924, tile: "128×128", slices: 1 },
  { rows: [1, 733], cin: 36, cout: 740, tile: "64×64", slices: 1 },
  { rows: [2, 65], cin: 2564, cout: 516, tile: "64×64", slices: 10 },
  { rows: [2, 31], cin: 1283, cout: 67, tile: "32×32", slices: 5 },
  { rows: [2, 31], cin: 1284, cout: 12, tile: "64×16", slices: 5 },
  { rows: [2, 31], cin: 1284, cout: 4, tile: "128×8", slices: 5 },
];

const nameOf = ({ bm, bn }: Tile) => `${bm}×${bn}`;

test("products are cut by their sizes: large, few rows, few columns, long sums", () => {
  for (const { rows: [images, imageRows], cin, cout, tile, slices } of CUTS) {
    const cut = cutProduct({ rows: images * imageRows, imageRows, cols: cout, channels: cin, taps: 1 });
    assert.deepEqual({ tile: nameOf(cut.tile), slices: cut.slices }, { tile, slices });
  }
});

/** Of every tile that the sizes of tests/ops do not reach, more than one of them and not whole ones, and with slices. */
const PRODUCTS = [
  { rows: [2, 150], cin: 8, cout: 260, tile: "128×128", slices: 1 },
  { rows: [2, 150], cin: 7, cout: 261, tile: "128×128", slices: 1 },
  { rows: [1, 133], cin: 36, cout: 140, tile: "64×64", slices: 1 },
  { rows: [1, 133], cin: 35, cout: 141, tile: "64×64", slices: 1 },
  { rows: [2, 65], cin: 1284, cout: 132, tile: "64×64", slices: 5 },
  { rows: [2, 31], cin: 1283, cout: 67, tile: "32×32", slices: 5 },
  { rows: [2, 31], cin: 1284, cout: 12, tile: "64×16", slices: 5 },
];

/** The tile of that name, whatever the size: large products need no large tensors then. */
const tilesOf = (name: string) => TILES.filter((tile) => nameOf(tile) === name);

onEvery("linear layers of every tile and of several slices agree with the reference", async (b) => {
  for (const { rows, cin, cout, tile, slices } of PRODUCTS) {
    const label = `${rows.join("·")}×${cin}×${cout}`;
    const [images, imageRows] = rows, tiles = tilesOf(tile);
    const size = { rows: images * imageRows, imageRows, cols: cout, channels: cin, taps: 1 };
    assert.equal(cutProduct(size, tiles).slices, slices, label);
    const weights = [[weightOf([cout, cin], 2)], [randomHost("b", [cout], { seed: 3 })]];
    await check(b, label, {
      shapes: [[...rows, cin], [...rows, cout], [images, cout]],
      op: (on, [x, residual, rowBias]) => {
        const options = { activation: "silu", residual, rowBias } as const;
        if (on !== b) return on.linear(x, on.linearWeight(weights[0], weights[1]), options);
        const out = b.host.alloc([...rows, cout]), w = linearWeight(b.host, weights[0], weights[1]);
        const geometry = { height: 1, width: imageRows, outWidth: imageRows, step: 1, top: 0, left: 0 };
        product(b.host, { x: x as GpuTensor, w, out, options, geometry }, { tiles });
        return out;
      },
    });
  }
});

onEvery("convolutions of large tiles and of several slices agree with the reference", async (b) => {
  const convolutions = [
    { image: [2, 13, 12, 1], cout: 261, stride: 1, tiles: tilesOf("128×128") },
    { image: [2, 7, 9, 68], cout: 52, stride: 1 },
    { image: [2, 7, 9, 69], cout: 51, stride: 2 },
    { image: [1, 12, 11, 64], cout: 4, stride: 1 },
  ] as const;
  for (const { image, cout, stride, ...forced } of convolutions) {
    const [batch, height, width, cin] = image;
    const out = [batch, Math.ceil(height / stride), Math.ceil(width / stride), cout];
    await check(b, `convolution of ${image.join("×")} to ${cout}, stride ${stride}`, {
      shapes: [[...image], out, [batch, cout]],
      op: (on, [x, residual, rowBias]) => {
        const weight = weightOf([cout, cin, 3, 3], 2), bias = randomHost("b", [cout], { seed: 3 });
        const options = { activation: "gelu", residual, rowBias } as const;
        if (on !== b || !("tiles" in forced)) {
          return on.conv2d(x, on.convWeight(weight, bias), { ...options, stride });
        }
        const y = b.host.alloc(out), geometry = { height, width, outWidth: width, step: 1, top: 1, left: 1 };
        const w = convWeight(b.host, weight, bias);
        product(b.host, { x: x as GpuTensor, w, out: y, options, geometry }, { tiles: forced.tiles });
        return y;
      },
    });
  }
});

onEvery("a product in many dispatches has the bits of one", async (b) => {
  for (const [rows, cin, cout] of [[1000, 12, 260], [300, 1030, 33]]) {
    const w = linearWeight(b.host, [weightOf([cout, cin], 2)]);
    const x = b.upload(randomArray(rows * cin, 1), [1, rows, cin]) as GpuTensor;
    const out = b.host.alloc([1, rows, cout]);
    const geometry = { height: 1, width: rows, outWidth: rows, step: 1, top: 0, left: 0 };
    const before = b.host.recorder.counters.dispatches;
    product(b.host, { x, w, out, options: {}, geometry }, { maxWork: 100 * cin * cout });
    const values = await b.read(out);
    assert.ok(b.host.recorder.counters.dispatches - before >= 5);
    const whole = b.linear(x, w);
    assertClose(values, await b.read(whole), { atol: 0, label: `${rows}×${cin}×${cout}` });
    for (const t of [x, out, whole]) b.free(t);
  }
});

onEvery("an image of a batch has the bits of the image alone", async (b) => {
  for (const [rows, cin, cout] of [[80, 772, 768], [36, 2304, 256], [1, 320, 1280], [576, 64, 64]]) {
    const w = b.linearWeight([weightOf([cout, cin], 2)]);
    const x = b.upload(randomArray(5 * rows * cin, 1), [5, rows, cin]);
    const flat = rows === 1 ? b.reshape(x, [5, cin]) : x;
    const batch = b.linear(flat, w);
    const alone = b.linear(b.rows(flat, 3, 4), w);
    const label = `image 3 of ${rows}×${cin}×${cout}`;
    assertClose(await b.read(alone), await b.read(b.rows(batch, 3, 4)), { atol: 0, label });
    for (const t of [x, batch, alone]) b.free(t);
  }
});

onEvery(
  "a weight beyond a device's limit is split by columns, or refused with the limit's name",
  async (b) => {
    const { f16 } = b.host;
    const limited = (bytes: number) => ({
      f16,
      limits: { maxStorageBufferBindingSize: bytes, maxBufferSize: 2 ** 28 } as GPUSupportedLimits,
      reserve: (data: ArrayBufferView, label: string) => b.host.reserve(data, label),
    });
    const weights = [weightOf([100, 40], 2), weightOf([132, 40], 3)];
    const biases = [randomHost("b", [100], { seed: 4 }), randomHost("b", [132], { seed: 5 })];
    for (const [columns, parts] of [[232, 1], [128, 2], [64, 4], [8, 29]]) {
      const bytes = (columns * (40 + 16) + 128) * (f16 ? 2 : 4);
      const split = linearWeight(limited(bytes), weights, biases);
      assert.equal(split.parts.length, parts);
      for (const images of [1, 40]) {
        await check(b, `${parts} parts, ${images} images`, {
          shapes: [[images, 3, 40], [images, 3, 232], [images, 232]],
          op: (b, [x, residual, rowBias]) => {
            const w = b === reference ? b.linearWeight(weights, biases) : split;
            return b.linear(x, w, { activation: "gelu", residual, rowBias });
          },
        });
      }
    }
    assert.throws(
      () => linearWeight(limited(300), weights),
      (error) =>
        error instanceof DeviceError &&
        /"w\+w".*maxStorageBufferBindingSize, found 300 bytes/.test(error.message),
    );
  },
);

for (const b of Object.values(all).filter((b) => b.host.f16)) {
  test("a weight that is no half is rounded to the nearest, and refused where there is none", async () => {
    const values = Float32Array.of(
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      -65504,
      2 ** -24,
      2 ** -25,
      1.5 * 2 ** -24,
    );
    const x = b.upload(Float32Array.of(1), [1, 1]);
    const out = b.linear(x, b.linearWeight([hostTensor("w", [6, 1], values)]));
    assert.deepEqual(
      [...await b.read(out)],
      [1, 1 + 2 ** -9, -65504, 2 ** -24, 0, 2 ** -23],
    );
    b.free(x);
    b.free(out);
    assert.throws(
      () => b.linearWeight([hostTensor("w", [1, 1], Float32Array.of(65520))]),
      { name: "RangeError", message: /"w" in half precision: expected values up to 65504, found 65520/ },
    );
  });
}
