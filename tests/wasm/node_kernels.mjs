// Run by exit_test.ts in Node 20, whose V8 has no relaxed SIMD: the strict modules compile and a product is right.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const PARAMS = 66560, SCRATCH = 131072, GEMM = 2, DATA = SCRATCH + 4194304;

for (const name of ["kernels.strict.wasm", "kernels.strict.single.wasm"]) {
  const bytes = await readFile(new URL(`../../asm/pkg/${name}`, import.meta.url));
  const shared = !name.includes("single");
  const memory = new WebAssembly.Memory(shared ? { initial: 100, maximum: 65536, shared } : { initial: 100 });
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const f32 = new Float32Array(memory.buffer), i32 = new Int32Array(memory.buffer);
  const rows = 13, depth = 19, cols = 11;
  const x = DATA, w = x + 4096, bias = w + 4096, out = bias + 4096;
  for (let i = 0; i < rows * depth; i++) f32[x / 4 + i] = i % 7 - 3;
  for (let k = 0; k < depth; k++) {
    for (let n = 0; n < 16; n++) {
      f32[w / 4 + (n >> 3) * depth * 8 + k * 8 + (n & 7)] = n < cols ? (n * k) % 5 - 2 : 0;
    }
  }
  for (let n = 0; n < cols; n++) f32[bias / 4 + n] = n;
  i32.set([x, depth, w, bias, out, cols, rows, depth, cols, 0, 0, 0, 0, 0, rows, 1, 1, 640], PARAMS / 4);
  instance.exports.runAlone(GEMM, 1, SCRATCH);
  for (let m = 0; m < rows; m++) {
    for (let n = 0; n < cols; n++) {
      let sum = n;
      for (let k = 0; k < depth; k++) sum += ((m * depth + k) % 7 - 3) * ((n * k) % 5 - 2);
      assert.equal(f32[out / 4 + m * cols + n], sum);
    }
  }
  console.log(`${name} ok`);
}
