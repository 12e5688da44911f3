/** What tiles, dispatches and f16 add to the op cases of tests/ops, which run on the GPU as well. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Backend, NormWeight, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { attention, attentionSizes } from "../../src/backend/webgpu/attention.ts";
import { createWebgpuBackend, type WebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import { cutProduct } from "../../src/backend/webgpu/linear.ts";
import type { GpuRuntime, GpuTensor } from "../../src/backend/webgpu/runtime.ts";
import { normConv, upsampleConv } from "../../src/nn/strips.ts";
import { assertClose } from "../support/assert_close.ts";
import { gpuBackends } from "../support/gpu.ts";
import { randomHost } from "../support/host.ts";
import { randomArray } from "../support/random.ts";

const all = await gpuBackends({ poison: true });
const reference = createReferenceBackend();
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

function onEvery(name: string, body: (b: WebgpuBackend, device: string) => Promise<void>): void {
  for (const [device, b] of Object.entries(all)) test(`${name}, on ${device}`, () => body(b, device));
}

/** A result of size 1 rounded to F once, beside sums in f32. */
const toleranceOf = (b: WebgpuBackend) =>
  b.host.f16 ? { atol: 2 ** -11, rtol: 2 ** -10 } : { atol: 1e-5, rtol: 1e-5 };

const norm = (b: Backend, channels: number): NormWeight =>
  b.normWeight(randomHost("w", [channels], { seed: 1 }), randomHost("b", [channels], { seed: 2 }));

/** The same layer on the GPU and on the reference, which gets what the GPU holds of the input. */
async function agrees(
  b: WebgpuBackend,
  { x, shape }: { x: Float32Array; shape: number[] },
  layer: (b: Backend, x: Tensor) => Tensor,
): Promise<void> {
  const input = b.upload(x, shape), output = layer(b, input);
  const want = await reference.read(layer(reference, reference.upload(await b.read(input), shape)));
  assertClose(await b.read(output), want, { ...toleranceOf(b), shape });
  b.free(input);
  b.free(output);
}

test("attention of any head width stays within 16 kB of workgroup memory and whole tiles", () => {
  for (let depth = 4; depth <= 1024; depth += 4) {
    const { D4, WG, DC4, CHUNKS, DV4, VCHUNKS, OX, SQ, QW, CW, TILE } = attentionSizes(depth);
    const label = `head width ${depth}`;
    assert.ok(16 * TILE + 4096 + 16 * (WG / 8) <= 16384, label);
    assert.ok(DC4 * CHUNKS >= D4 && DC4 * (CHUNKS - 1) < D4, label);
    assert.ok(DV4 * VCHUNKS >= D4 && DV4 * (VCHUNKS - 1) < D4, label);
    assert.ok(WG <= 256 && SQ <= 4 && SQ * (WG / 8) === 32, label);
    assert.ok(WG % OX === 0 && QW * (WG / OX) === 32 && CW * OX >= DV4, label);
    assert.ok(TILE >= 64 * (DC4 | 1) && (CHUNKS === 1 ? DV4 === DC4 : 32 * DV4 <= TILE), label);
  }
});

test("attention over many tokens is cut into dispatches short enough for a slow device", () => {
  const runs: { first: number; end: number; work: number }[] = [];
  const x: GpuTensor = { shape: [2, 16384, 320], stride: 320, offset: 0, buffer: {} as GPUBuffer };
  const rt: Partial<GpuRuntime> = {
    alloc: () => x,
    run: (_kernel, [first, end], _buffers, [across, down = 1], work = Infinity) => {
      assert.ok(across * down >= end - first);
      runs.push({ first, end, work });
    },
  };
  attention(rt as GpuRuntime, x, x, x, { heads: 8 });
  assert.equal(runs.reduce((at, { first, end }) => (assert.equal(first, at), end), 0), 2 * 8 * 16384 / 32);
  assert.ok(runs.length > 1 && runs.every(({ work }) => work <= 1e10));
  assert.equal(runs.reduce((sum, { work }) => sum + work, 0), 2 * 2 * 16384 ** 2 * 320);
});

onEvery("more rows than a dispatch has workgroups in one dimension", async (b) => {
  const shape = [65537, 8];
  await agrees(
    b,
    { x: randomArray(65537 * 8, 1), shape },
    (b, x) => b.layerNorm(x, norm(b, 8), { eps: 1e-5 }),
  );
});

onEvery("group norm over many blocks of rows, with a mean above the deviation", async (b) => {
  const x = randomArray(3001 * 8, 3).map((v) => 5 + v);
  await agrees(
    b,
    { x, shape: [1, 3001, 8] },
    (b, x) => b.groupNorm(x, norm(b, 8), { groups: 2, eps: 1e-6, silu: true }),
  );
});

onEvery("group norm by strips is bit for bit group norm, however far the mean", async (b) => {
  const options = { groups: 4, eps: 1e-6 }, w = norm(b, 32);
  const x = b.upload(randomArray(2 * 64 * 32, 5).map((v) => 40 + v), [2, 8, 8, 32]);
  const whole = await b.read(b.groupNorm(x, w, { ...options, silu: true }));
  const scaleShift = b.groupNormAffine(x, w, options);
  assert.deepEqual(scaleShift.shape, [2, 64]);
  assert.deepEqual(await b.read(b.affine(x, scaleShift, { silu: true })), whole);
});

onEvery(
  "a convolution by strips is bit for bit that of the whole image, whose sums are cut into slices",
  async (b) => {
    const [height, width, channels, cout] = [10, 9, 64, 32];
    const whole = { rows: height * width, imageRows: height * width, cols: cout, channels, taps: 9 };
    assert.equal(cutProduct(whole).slices, 2);
    const x = b.upload(randomArray(height * width * channels, 5), [1, height, width, channels]);
    const w = norm(b, channels),
      conv = b.convWeight(randomHost("w", [cout, channels, 3, 3], { seed: 3, gain: 0.05 }));
    const drawn: Float32Array[] = [];
    for (const stripElements of [1e9, 3 * width * channels, 1]) {
      const target = b.empty([1, height, width, cout]);
      normConv(b, x, { norm: w, conv, target, groups: 4, eps: 1e-6, stripElements });
      const doubled = upsampleConv(b, target, {
        conv: b.convWeight(randomHost("w", [8, cout, 3, 3], { seed: 4, gain: 0.1 })),
        stripElements,
      });
      drawn.push(await b.read(doubled));
    }
    assert.deepEqual(drawn[1], drawn[0]);
    assert.deepEqual(drawn[2], drawn[0]);
  },
);

onEvery("group norm of a constant image gives its shift", async (b) => {
  const w = norm(b, 8), x = b.upload(new Float32Array(100 * 8).fill(1000), [1, 100, 8]);
  const y = await b.read(b.groupNorm(x, w, { groups: 2, eps: 1e-6 }));
  const beta = new Float32Array(randomHost("b", [8], { seed: 2 }).data.slice().buffer);
  // The shift is up to 1e6 in f32, and 3e4 in 22 bits where F is f16: what is left of β is good to this.
  assertClose(y, Float32Array.from(y, (_, i) => beta[i % 8]), { atol: b.host.f16 ? 2 ** -6 : 2 ** -3 });
});

onEvery("other coefficients need no other bind group", async (b) => {
  const { counters } = b.host.recorder;
  const x = b.upload(randomArray(64, 1), [8, 8]), held = await b.read(x);
  const scaled = async (factor: number) => {
    const y = b.lincomb([[factor, x], [factor, x]]), values = await b.read(y);
    b.free(y);
    return values;
  };
  await scaled(1);
  const before = counters.bindGroups;
  assertClose(await scaled(0.25), held.map((v) => v / 2), { atol: 0 });
  assert.equal(counters.bindGroups, before);
});

onEvery("a tensor's columns are written over others of it", async (b) => {
  const values = randomArray(5 * 8, 1), x = b.upload(values, [5, 8]), held = await b.read(x);
  b.write(b.columns(x, 4, 8), b.columns(x, 1, 5));
  assertClose(await b.read(x), held.map((v, i) => i % 8 < 4 ? v : held[i - 3]), { atol: 0 });
});

for (const [device, b] of Object.entries(all).filter(([, b]) => b.host.subgroups)) {
  test(`with subgroups and without: the same bits every time, the same plans and attention, on ${device}`, async () => {
    const without = await createWebgpuBackend({ f16: b.host.f16, subgroups: false, poison: true });
    const [tokens, channels] = [16 * 16, 40];
    const values = randomArray(2 * tokens * channels, 7).map((v) => 3 + v);
    const results = async (b: WebgpuBackend) => {
      const out = b.scope(() => {
        const x = b.upload(values, [2, tokens, channels]), w = norm(b, channels);
        const plan = b.match(x, { height: 16, width: 16, sx: 2, sy: 2, r: 90 });
        return [
          b.layerNorm(x, w, { eps: 1e-5 }),
          b.groupNorm(x, w, { groups: 4, eps: 1e-6 }),
          b.attention(x, x, x, { heads: 1 }),
          b.merge(plan, x),
        ];
      });
      const read = await Promise.all(out.map((y) => b.read(y)));
      for (const y of out) b.free(y);
      return read;
    };
    try {
      assert.equal(without.host.subgroups, undefined);
      const [first, again] = [await results(b), await results(b)];
      const [other, otherAgain] = [await results(without), await results(without)];
      assert.deepEqual(again, first);
      assert.deepEqual(otherAgain, other);
      for (const i of [0, 1]) assertClose(first[i], other[i], toleranceOf(b));
      for (const i of [2, 3]) assert.deepEqual(first[i], other[i]);
    } finally {
      await without.dispose();
    }
  });
}
