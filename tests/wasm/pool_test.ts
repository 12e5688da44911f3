import assert from "node:assert/strict";
import { test } from "node:test";
import { CLOSING, FAILED, PENDING } from "../../asm/layout.ts";
import { Op } from "../../asm/op.ts";
import type { HostTensor } from "../../src/backend/backend.ts";
import { createWasmBackend, type WasmBackend, type WasmOptions } from "../../src/backend/wasm/backend.ts";
import { DeviceError } from "../../src/errors.ts";

let state = 1;
function randoms(length: number): Float32Array {
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  });
}
const hostTensor = (data: Float32Array, shape: number[]): HostTensor => ({
  name: "w",
  dtype: "F32",
  shape,
  data: new Uint8Array(data.buffer),
});

const ROWS = 131, DEPTH = 1290, COLS = 333;
const x = randoms(ROWS * DEPTH),
  w = randoms(COLS * DEPTH),
  bias = randoms(COLS),
  residual = randoms(ROWS * COLS);
const image = randoms(2 * 9 * 11 * 70), kernel = randoms(45 * 70 * 9);

/** A product and a convolution with several K blocks, tails on every side and an epilogue. */
async function results(backend: WasmBackend): Promise<Float32Array[]> {
  const linear = backend.linear(
    backend.upload(x, [ROWS, DEPTH]),
    backend.linearWeight([hostTensor(w, [COLS, DEPTH])], [hostTensor(bias, [COLS])]),
    { activation: "gelu", residual: backend.upload(residual, [ROWS, COLS]) },
  );
  const conv = backend.conv2d(
    backend.upload(image, [2, 9, 11, 70]),
    backend.convWeight(hostTensor(kernel, [45, 70, 3, 3])),
    { stride: 2, pad: [0, 0, 1, 1] },
  );
  return [await backend.read(linear), await backend.read(conv)];
}

async function withBackend<T>(options: WasmOptions, body: (backend: WasmBackend) => Promise<T>): Promise<T> {
  const backend = await createWasmBackend(options);
  try {
    return await body(backend);
  } finally {
    await backend.dispose();
  }
}

for (const kernels of ["fast", "strict"] as const) {
  test(`${kernels} kernels: the same bits on 1, 2 and 3 threads, resident weights or not`, async () => {
    const one = await withBackend({ kernels, threads: 1 }, results);
    for (const options of [{ threads: 2 }, { threads: 3 }, { threads: 2, residentBytes: 0 }]) {
      assert.deepEqual(await withBackend({ kernels, ...options }, results), one);
    }
  });
}

test("fast and strict kernels agree to a few roundings", async () => {
  const fast = await withBackend({ kernels: "fast", threads: 1 }, results);
  const strict = await withBackend({ kernels: "strict", threads: 1 }, results);
  // Each of K products and sums may round differently, by half a unit of a partial sum below 64.
  const bound = 64 * 2 ** -24 * Math.sqrt(DEPTH) * 4;
  fast.forEach((values, i) => {
    let worst = 0;
    values.forEach((value, j) => worst = Math.max(worst, Math.abs(value - strict[i][j])));
    assert.ok(worst <= bound, `${worst} > ${bound}`);
  });
});

test("a product agrees with a scalar one in f64", async () => {
  for (const kernels of ["fast", "strict"] as const) {
    const [y] = await withBackend({ kernels, threads: 2 }, results);
    let worst = 0;
    for (let m = 0; m < ROWS; m += 5) {
      for (let n = 0; n < COLS; n += 3) {
        let sum = bias[n];
        for (let k = 0; k < DEPTH; k++) sum += x[m * DEPTH + k] * w[n * DEPTH + k];
        // |sum| is about 12 on average here: gelu is x or 0 but for a few, which the op tests look at.
        const expected = (sum > 6 ? sum : sum < -6 ? 0 : NaN) + residual[m * COLS + n];
        if (!Number.isNaN(expected)) worst = Math.max(worst, Math.abs(y[m * COLS + n] - expected));
      }
    }
    assert.ok(worst < 2e-4, `${kernels}: ${worst}`);
  }
});

test("half-precision weights give what their widened values give, every half of them", async () => {
  const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const backend = await createWasmBackend({ threads: 2 });
  const at = backend.host.reserve(65536 * 4);
  backend.host.widen(halves, at);
  const values = backend.host.f32.slice(at / 4, at / 4 + 65536);
  for (let h = 0; h < 65536; h++) {
    const exponent = h >> 10 & 31, fraction = h & 1023, sign = h >> 15 ? -1 : 1;
    const expected = exponent === 31
      ? fraction ? NaN : sign * Infinity
      : sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
    assert.ok(Object.is(values[h], expected), `${h}: ${values[h]}, ${expected}`);
  }
  await backend.dispose();
});

test("ten thousand tiny jobs end, with pauses in which the threads sleep", async () => {
  const backend = await createWasmBackend({ threads: 3 });
  const values = backend.host.reserve(4096 * 6);
  for (let i = 0; i < 10_000; i++) {
    const value = i % 7 / 8;
    if (i % 100 === 0) backend.host.f32.fill(NaN, values / 4 + 8, values / 4 + 8 + 5 * 4);
    backend.host.f32.fill(value, values / 4, values / 4 + 8);
    backend.host.run(Op.Peak, 5, [values, 1]);
    if (i % 100 !== 0) continue;
    const out = backend.host.f32.subarray(values / 4 + 8, values / 4 + 8 + 5 * 4);
    assert.ok(out.every((x) => x === out[0] && !Number.isNaN(x)), `job ${i}: ${out}`);
    if (i % 1000 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await backend.dispose();
});

test("dispose ends the threads, twice as well, and what runs afterwards is told so", async () => {
  const backend = await createWasmBackend({ threads: 3 });
  const { memory } = backend.host.instance;
  await backend.dispose();
  await backend.dispose();
  assert.equal(new Int32Array(memory.buffer)[CLOSING / 4], 1);
  assert.throws(
    () => backend.host.run(Op.Peak, 1, [0, 1]),
    (error) => error instanceof DeviceError && /disposed/.test(error.message),
  );
});

test("a trap in a thread is an error at the host, not a hang", async () => {
  const backend = await createWasmBackend({ threads: 2 });
  // An operation that no kernel has traps on whichever thread takes it.
  assert.throws(() => backend.host.run(99 as Op, 64, []), DeviceError);
  assert.throws(() => backend.host.run(Op.Peak, 1, [0, 1]), DeviceError);
  await backend.dispose();
});

test("the host sees that a thread failed while it waits", async () => {
  const backend = await createWasmBackend({ threads: 2 });
  const words = new Int32Array(backend.host.instance.memory.buffer);
  Atomics.store(words, FAILED / 4, 2);
  // As if a thread had taken a task and never ended it.
  const at = backend.host.reserve(4096);
  const { kernels } = backend.host.instance;
  const { runShared } = kernels;
  Object.defineProperty(kernels, "runShared", {
    value: (op: number, tasks: number, scratch: number) => {
      runShared(op, tasks, scratch);
      Atomics.store(words, PENDING / 4, 1);
      return 1;
    },
  });
  assert.throws(() => backend.host.run(Op.Peak, 8, [at, 1]), /thread 1, found a trap/);
  await backend.dispose();
});

test("options out of range are refused", async () => {
  for (const options of [{ threads: 0 }, { threads: 1.5 }, { threads: 257 }, { residentBytes: NaN }]) {
    await assert.rejects(createWasmBackend(options), RangeError);
  }
  await assert.rejects(createWasmBackend({ kernels: "quick" as "fast" }), RangeError);
});

test("a module that was compiled elsewhere serves, with one thread if its memory is not shared", async () => {
  const { readFile } = await import("node:fs/promises");
  const one = await withBackend({ kernels: "strict", threads: 1 }, results);
  for (const [file, threads] of [["kernels.strict.single.wasm", 1], ["kernels.strict.wasm", 2]] as const) {
    const bytes = new Uint8Array(await readFile(new URL(`../../asm/pkg/${file}`, import.meta.url)));
    const module = await WebAssembly.compile(bytes);
    await withBackend({ module, threads: 2 }, async (backend) => {
      assert.equal(backend.host.threads, threads);
      assert.match(backend.description, threads === 1 ? /no shared memory here/ : /strict.*2 threads/);
      assert.deepEqual(await results(backend), one);
    });
  }
});
