import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTensor, Tensor } from "../../src/backend/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";
import { Arena } from "../../src/backend/wasm/memory.ts";
import { DeviceError } from "../../src/errors.ts";

function hostTensor(name: string, values: number[], shape: number[]): HostTensor {
  return { name, dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

test("the arena reuses the smallest hole that fits and joins neighbours", () => {
  const memory = new WebAssembly.Memory({ initial: 16 });
  const arena = new Arena(memory, 0);
  const [a, b, c, d] = [256, 64, 128, 64].map((bytes) => arena.alloc(bytes));
  arena.free(a);
  arena.free(c);
  assert.equal(arena.alloc(100), c);
  assert.equal(arena.alloc(200), a);
  arena.free(a);
  arena.free(c);
  arena.free(b);
  assert.equal(arena.alloc(448), a);
  arena.free(a);
  arena.free(d);
  assert.equal(arena.blocks, 0);
  assert.equal(arena.alloc(16 * 65536), 0);
  assert.equal(memory.buffer.byteLength, 16 * 65536);
});

test("blocks do not overlap, whatever the order of allocation and freeing", () => {
  const arena = new Arena(new WebAssembly.Memory({ initial: 1 }), 1000);
  const live = new Map<number, number>();
  let state = 7;
  const random = (n: number) => (state = Math.imul(state, 1103515245) + 12345 & 0x7fffffff) % n;
  for (let i = 0; i < 3000; i++) {
    if (live.size > 20 || live.size > 0 && random(2) === 0) {
      const at = [...live.keys()][random(live.size)];
      arena.free(at);
      live.delete(at);
    } else {
      const size = 1 + random(50_000);
      const at = arena.alloc(size);
      assert.ok(at >= 1000 && at % 64 === 0);
      for (const [other, bytes] of live) assert.ok(at + size <= other || other + bytes <= at);
      live.set(at, size);
    }
  }
  assert.equal(arena.blocks, live.size);
});

test("a double free and a request beyond 4 GiB are errors that name the numbers", () => {
  const arena = new Arena(new WebAssembly.Memory({ initial: 1 }), 0);
  const at = arena.alloc(64);
  arena.free(at);
  assert.throws(() => arena.free(at), /address 0: expected an allocated block/);
  assert.throws(
    () => arena.alloc(2 ** 32 + 64),
    (error) => error instanceof DeviceError && /4294967360 bytes.*at most 4294967296/.test(error.message),
  );
  assert.equal(arena.alloc(64), at);
});

test("what a scope returns lives on, the rest is freed and poisoned", async () => {
  const backend = await createWasmBackend({ threads: 1, poison: true });
  const before = backend.host.arena.blocks;
  let inner: Tensor | undefined;
  const kept = backend.scope(() => {
    const outer = backend.scope(() => {
      inner = backend.upload(new Float32Array(8).fill(1), [2, 4]);
      const sum = backend.lincomb([[2, inner], [1, inner]]);
      return backend.columns(sum, 1, 3);
    });
    const copy = backend.lincomb([[1, outer]]);
    return [backend.keep(copy), undefined] as const;
  });
  assert.equal(backend.host.arena.blocks, before + 1);
  assert.deepEqual([...await backend.read(kept[0])], [3, 3, 3, 3]);
  await assert.rejects(async () => await backend.read(inner!), /freed/);
  backend.free(kept[0]);
  const { ptr } = kept[0] as Tensor & { ptr: number };
  assert.ok(backend.host.f32.subarray(ptr / 4, ptr / 4 + 4).every(Number.isNaN));
  assert.equal(backend.host.arena.blocks, before);
  await backend.dispose();
});

test("an error inside a scope frees what the scope made", async () => {
  const backend = await createWasmBackend({ threads: 1 });
  const before = backend.host.arena.blocks;
  assert.throws(() =>
    backend.scope(() => {
      backend.upload(new Float32Array(4), [1, 4]);
      throw new Error("stop");
    }), /stop/);
  assert.equal(backend.host.arena.blocks, before);
  await backend.dispose();
});

for (const residentBytes of [0, 2 ** 29]) {
  test(`memory stays flat from step to step, resident weights ${residentBytes}`, async () => {
    const backend = await createWasmBackend({ threads: 2, residentBytes });
    const weight = backend.linearWeight([hostTensor("w", new Array(64 * 64).fill(0.01), [64, 64])]);
    const conv = backend.convWeight(hostTensor("c", new Array(64 * 64 * 9).fill(0.01), [64, 64, 3, 3]));
    const step = () =>
      backend.scope(() => {
        const x = backend.upload(new Float32Array(32 * 32 * 64).fill(0.5), [1, 32, 32, 64]);
        const y = backend.conv2d(x, conv, { residual: x, activation: "silu" });
        const plan = backend.match(backend.reshape(y, [1, 1024, 64]), {
          height: 32,
          width: 32,
          sx: 2,
          sy: 2,
          r: 300,
        });
        const z = backend.merge(plan, backend.reshape(y, [1, 1024, 64]));
        backend.unmerge(plan, backend.linear(backend.attention(z, z, z, { heads: 2 }), weight));
      });
    step();
    const bytes = backend.host.instance.memory.buffer.byteLength;
    const blocks = backend.host.arena.blocks;
    const peak = backend.peakBytes(true);
    for (let i = 0; i < 20; i++) step();
    assert.equal(backend.host.instance.memory.buffer.byteLength, bytes);
    assert.equal(backend.host.arena.blocks, blocks);
    assert.equal(backend.peakBytes(), peak);
    assert.ok(peak >= 3 * 32 * 32 * 64 * 4, `${peak}`);
    await backend.dispose();
  });
}
