import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Backend, HostTensor, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { createShapesBackend } from "../../src/backend/shapes/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";
import { hostTensor, randomHost } from "../support/host.ts";
import { randomArray, randomIntegers } from "../support/random.ts";

const computing = [createReferenceBackend(), await createWasmBackend({ threads: 2, poison: true })];
const all = [...computing, createShapesBackend()];
after(async () => {
  for (const b of all) await b.dispose();
});

const ramp = (b: Backend, shape: number[]) =>
  b.upload(Float32Array.from({ length: shape.reduce((a, n) => a * n, 1) }, (_, i) => i), shape);
const plain = (b: Backend) =>
  b.planFrom({ rowOf: Int32Array.of(0, 1, 1, 0) }, { batch: 1, tokens: 4, merged: 2 });

for (const b of all) {
  const on = `on ${b.device}`;

  test(`a scope frees what it does not return, ${on}`, async () => {
    let inner: Tensor | undefined;
    const [x, plan] = b.scope(() => {
      inner = ramp(b, [2, 3]);
      return [b.activation(inner, "silu"), plain(b)] as const;
    });
    await b.read(x);
    await b.readPlan(plan);
    const freed = /expected a live one, found one that was freed/;
    assert.throws(() => b.activation(inner!, "silu"), freed);
    assert.throws(() => b.columns(inner!, 0, 1), freed);
    await assert.rejects(async () => await b.read(inner!), freed);
    assert.throws(() => b.free(inner!), freed);
    b.free(x);
    b.free(plan);
    assert.throws(() => b.merge(plan, ramp(b, [1, 4, 1])), freed);
  });

  test(`what an inner scope returns ends with the outer one, ${on}`, () => {
    let inner: Tensor | undefined;
    const outer = b.scope(() => {
      inner = b.scope(() => b.activation(ramp(b, [2, 3]), "silu"));
      return b.activation(inner, "silu"); // inner is alive here
    });
    assert.throws(() => b.activation(inner!, "silu"), /freed/);
    b.free(outer);
  });

  test(`a view lives as long as its tensor, keeps it alive when returned, and cannot be freed, ${on}`, async () => {
    const view = b.scope(() => b.reshape(b.columns(ramp(b, [2, 2, 3]), 1, 3), [4, 2]));
    await b.read(view);
    assert.throws(() => b.free(view), /found a view/);
    const owner = ramp(b, [4, 3]), row = b.rows(owner, 1, 2);
    b.free(owner);
    assert.throws(() => b.activation(row, "silu"), /freed/);
  });

  test(`a kept tensor outlives its scopes, ${on}`, async () => {
    let kept: Tensor | undefined;
    b.scope(() => b.scope(() => void (kept = b.keep(ramp(b, [2, 3])))));
    await b.read(kept!);
    b.free(kept!);
    assert.throws(() => b.keep(kept!), /freed/);
  });

  test(`a scope that throws frees what it made; one that returns a promise is refused, ${on}`, () => {
    let x: Tensor | undefined;
    assert.throws(() =>
      b.scope(() => {
        x = ramp(b, [2, 3]);
        throw new Error("inside");
      }), /inside/);
    assert.throws(() => b.activation(x!, "silu"), /freed/);
    assert.throws(() => b.scope(() => b.read(ramp(b, [1])) as unknown as void), TypeError);
  });

  test(`peakBytes is the most that lived at once, ${on}`, () => {
    b.peakBytes(true);
    const before = b.peakBytes(true);
    b.scope(() => {
      const x = b.empty([100, 16]);
      b.free(b.empty([100, 16]));
      b.scope(() => void b.empty([100, 16]));
      b.write(b.rows(b.empty([200, 16]), 0, 100), x);
    });
    assert.equal(b.peakBytes() - before, 300 * 16 * 4);
    assert.equal(b.peakBytes(true) - before, 300 * 16 * 4);
    assert.equal(b.peakBytes(), before);
  });

  test(`a tensor of another backend is refused, ${on}`, () => {
    const other = createReferenceBackend();
    assert.throws(() => b.activation(ramp(other, [2, 3]), "silu"), /found one of another/);
    assert.throws(() => b.merge(plain(other), ramp(b, [1, 4, 1])), /found one of another/);
  });

  test(`wrong calls are refused by name, with what was expected and found, ${on}`, () => {
    const x = ramp(b, [2, 4, 6]), image = ramp(b, [1, 4, 4, 6]), other = ramp(b, [2, 4, 5]);
    const host = (...shape: number[]) => randomHost("block.weight", shape, { seed: 1 });
    const linear = b.linearWeight([host(3, 6)]), conv = b.convWeight(host(3, 6, 3, 3));
    const norm = b.normWeight(host(6), host(6));
    const grid = { height: 2, width: 2, sx: 2, sy: 2 };
    const plan = plain(b);
    const range: [RegExp, () => unknown][] = [
      [/upload: expected 4 values for shape \[2, 2\], found 3/, () => b.upload(new Float32Array(3), [2, 2])],
      [
        /upload: expected dimensions that are positive.*\[0, 2\]/,
        () => b.upload(new Float32Array(0), [0, 2]),
      ],
      [/empty.*positive integers, found \[\]/, () => b.empty([])],
      [/take rows: expected a range 0 ≤ from < to ≤ 2, found 1..3/, () => b.rows(x, 1, 3)],
      [/take columns: .* found 2..2/, () => b.columns(x, 2, 2)],
      [/reshape: expected 48 elements in rows of 6.*found \[6, 8\]/, () => b.reshape(x, [6, 8])],
      [/write: expected a source of shape \[2, 4, 6\], found \[2, 4, 5\]/, () => b.write(x, other)],
      [
        /load "block.weight": expected a matrix \[out, 6\], found \[3, 5\]/,
        () => b.linearWeight([host(3, 6), host(3, 5)]),
      ],
      [
        /load "block.weight": expected a bias of shape \[3\], found \[4\]/,
        () => b.linearWeight([host(3, 6)], [host(4)]),
      ],
      [/load "block.weight": expected \[out, in, k, k\], found \[3, 6\]/, () => b.convWeight(host(3, 6))],
      [
        /load "block.weight": expected a bias of shape \[6\], found \[5\]/,
        () => b.normWeight(host(6), host(5)),
      ],
      [
        /linear "block.weight": expected a tensor \[..., 6\], found \[2, 4, 5\]/,
        () => b.linear(other, linear),
      ],
      [
        /linear "block.weight": expected a residual of shape \[2, 4, 3\]/,
        () => b.linear(x, linear, { residual: x }),
      ],
      [
        /linear "block.weight": expected a row bias of shape \[2, 3\]/,
        () => b.linear(x, linear, { rowBias: x }),
      ],
      [/conv2d "block.weight": expected a tensor \[B, H, W, C\], found \[2, 4, 6\]/, () => b.conv2d(x, conv)],
      [
        /conv2d "block.weight": expected stride 1 or 2, found 3/,
        () => b.conv2d(image, conv, { stride: 3 as 2 }),
      ],
      [/conv2d .*pad to be four integers/, () => b.conv2d(image, conv, { pad: [0, -1, 0, 0] })],
      [
        /conv2d .*padded image of at least 3×3/,
        () => b.conv2d(ramp(b, [1, 2, 4, 6]), conv, { pad: [0, 0, 0, 0] }),
      ],
      [
        /groupNorm "block.weight": expected a number of groups that divides 6, found 4/,
        () => b.groupNorm(x, norm, { groups: 4, eps: 1e-5 }),
      ],
      [
        /groupNorm "block.weight": expected eps .*found NaN/,
        () => b.groupNorm(x, norm, { groups: 2, eps: NaN }),
      ],
      [/affine: expected scale and shift of shape \[2, 12\]/, () => b.affine(x, other)],
      [/layerNorm "block.weight": expected a tensor \[..., 6\]/, () => b.layerNorm(other, norm, { eps: 0 })],
      [
        /attention "a": expected a number of heads that divides 6, found 4/,
        () => b.attention(x, x, x, { heads: 4, name: "a" }),
      ],
      [/attention: expected keys of shape \[2, M, 6\]/, () => b.attention(x, other, other, { heads: 1 })],
      [
        /attention: expected 4 keys for causal queries, found 3/,
        () => b.attention(x, ramp(b, [2, 3, 6]), ramp(b, [2, 3, 6]), { heads: 1, causal: true }),
      ],
      [/geglu: expected an even number of channels, found \[2, 4, 5\]/, () => b.geglu(other)],
      [/upsample: expected height 8 or 7, found 9/, () => b.upsample(image, 9, 8)],
      [/concat: expected a second tensor \[2, 4, C\]/, () => b.concat(x, image)],
      [/stack: expected tensors \[B, 4, 6\]/, () => b.stack([x, other])],
      [/lincomb: expected 1 to 6 terms, found 0/, () => b.lincomb([])],
      [/lincomb: expected terms of shape \[2, 4, 6\]/, () => b.lincomb([[1, x], [1, other]])],
      [/blend: expected a mask of shape \[2, 4, 1\]/, () => b.blend(x, x, x)],
      [/match "m": expected r in 1..3 .*, found 4/, () => b.match(x, { ...grid, r: 4, name: "m" })],
      [/match: expected r in 1..3/, () => b.match(x, { ...grid, r: 0 })],
      [/match: expected 3×2 = 6 tokens, found 4/, () => b.match(x, { ...grid, height: 3, r: 1 })],
      [
        /match: expected a grid of at least one cell of 3 rows × 2 columns/,
        () => b.match(x, { ...grid, sy: 3, r: 1 }),
      ],
      [
        /match: expected randIdx\[1\] in 0..3, found 4/,
        () => b.match(x, { ...grid, r: 1, randIdx: Int32Array.of(0, 4) }),
      ],
      [
        /match: expected 2 · 1 positions in randIdx, found 1/,
        () => b.match(x, { ...grid, r: 1, randIdx: Int32Array.of(0) }),
      ],
      [
        /planFrom: expected rowOf\[3\] in 0..1, found 2/,
        () => b.planFrom({ rowOf: Int32Array.of(0, 1, 1, 2) }, { batch: 1, tokens: 4, merged: 2 }),
      ],
      [
        /planFrom: expected every row to have a token, found none for row 1/,
        () => b.planFrom({ rowOf: Int32Array.of(0, 0, 0, 0) }, { batch: 1, tokens: 4, merged: 2 }),
      ],
      [/merge: expected a tensor of shape \[1, 4, 6\], found \[2, 4, 6\]/, () => b.merge(plan, x)],
      [/unmerge: expected a tensor of shape \[1, 2, 6\], found \[2, 4, 6\]/, () => b.unmerge(plan, x)],
      [/unmerge: expected a residual of shape \[1, 4, 6\]/, () => b.unmerge(plan, ramp(b, [1, 2, 6]), x)],
    ];
    for (const [message, call] of range) {
      assert.throws(call, (error) => {
        assert.ok(error instanceof RangeError, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    const kinds: [RegExp, () => unknown][] = [
      [/upload: expected a Float32Array/, () => b.upload([1, 2] as unknown as Float32Array, [2])],
      [/linear .*expected a linear weight, found a conv weight/, () => b.linear(x, conv)],
      [/conv2d .*expected a conv weight, found a linear weight/, () => b.conv2d(image, linear)],
      [/activation: expected .*found relu/, () => b.activation(x, "relu" as "silu")],
      [
        /expected dtype F16, BF16 or F32, found I64/,
        () => b.convWeight({ ...host(3, 6, 3, 3), dtype: "I64" as HostTensor["dtype"] }),
      ],
    ];
    for (const [message, call] of kinds) {
      assert.throws(
        call,
        (error) => error instanceof TypeError && message.test(error.message),
        String(message),
      );
    }
  });
}

for (const b of computing) {
  const on = `on ${b.device}`;

  test(`a weight whose bytes do not fit its shape is refused, ${on}`, () => {
    const short = { ...hostTensor("short", [2, 2], new Float32Array(4)), data: new Uint8Array(15) };
    assert.throws(() => b.linearWeight([short]), /load "short": expected 16 bytes, found 15/);
  });

  test(`an image of a batch has the bits it has alone, ${on}`, async () => {
    const [batch, height, width, channels] = [3, 9, 7, 16], tokens = height * width;
    const x = b.upload(randomArray(batch * tokens * channels, 1), [batch, height, width, channels]);
    const seq = b.reshape(x, [batch, tokens, channels]);
    const linear = b.linearWeight([randomHost("w", [33, 16], { seed: 2 })]);
    const conv = b.convWeight(randomHost("w", [33, 16, 3, 3], { seed: 3 }));
    const norm = b.normWeight(randomHost("w", [16], { seed: 4 }), randomHost("b", [16], { seed: 5 }));
    const grid = { height, width, sx: 2, sy: 2, r: 20 }, cells = 12;
    const randIdx = randomIntegers(batch * cells, 4, 6);
    const ops: ((x: Tensor, seq: Tensor, draws: Int32Array) => Tensor)[] = [
      (_, seq) => b.linear(seq, linear),
      (x) => b.conv2d(x, conv, { stride: 2 }),
      (x) => b.groupNorm(x, norm, { groups: 4, eps: 1e-5 }),
      (_, seq) => b.attention(seq, seq, seq, { heads: 2 }),
      (_, seq, randIdx) => {
        const plan = b.match(seq, { ...grid, randIdx });
        return b.unmerge(plan, b.merge(plan, seq));
      },
    ];
    for (const op of ops) {
      const together = op(x, seq, randIdx);
      for (let i = 0; i < batch; i++) {
        const alone = op(
          b.rows(x, i, i + 1),
          b.rows(seq, i, i + 1),
          randIdx.subarray(i * cells, (i + 1) * cells),
        );
        assert.deepEqual(await b.read(alone), await b.read(b.rows(together, i, i + 1)), String(op));
      }
    }
  });

  test(`groupNorm has the bits of its two halves, ${on}`, async () => {
    const x = b.upload(randomArray(2 * 100 * 24, 1), [2, 100, 24]);
    const norm = b.normWeight(randomHost("w", [24], { seed: 4 }), randomHost("b", [24], { seed: 5 }));
    for (const silu of [false, true]) {
      const options = { groups: 3, eps: 1e-5, silu };
      const halves = b.affine(x, b.groupNormAffine(x, norm, options), { silu });
      assert.deepEqual(await b.read(halves), await b.read(b.groupNorm(x, norm, options)));
    }
  });
}
