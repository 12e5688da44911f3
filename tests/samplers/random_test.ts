import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createNoiseSource,
  Mt19937,
  philox4x32,
  PhiloxGenerator,
  philoxRandn,
  TorchGenerator,
  torchRandn,
} from "../../src/samplers/random.ts";
import { distance, fnv, golden } from "./goldens.ts";

const SEEDS = [0n, 1n, 42n, 2n ** 32n - 1n, 2n ** 32n + 7n, 2n ** 63n + 12345n, 2n ** 64n - 1n];

test("the Mersenne Twister's 10000th word for seed 5489 is the one that C++ prescribes", () => {
  const engine = new Mt19937(5489);
  for (let i = 1; i < 10000; i++) engine.next();
  assert.equal(engine.next(), 4123659995); // [rand.predef] of the C++ standard
});

test("torchRandn is PyTorch's randn within 1e-6, below and above 16 elements", () => {
  for (const seed of SEEDS) {
    for (const count of [1, 2, 5, 15, 16, 17, 31, 64, 2304, 16384]) {
      const all = torchRandn(seed, count);
      assert.equal(all.length, count);
      const z = count <= 64
        ? all
        : [...all.subarray(0, 8), ...all.subarray(count / 2, count / 2 + 8), ...all.subarray(-24)];
      const d = distance(z, golden(`randn.${seed}.${count}`));
      assert.ok(d <= 1e-6, `seed ${seed}, ${count} elements: largest difference ${d}`);
      if (count > 64) {
        const sum = all.reduce((s, v) => s + Math.abs(v), 0);
        assert.ok(Math.abs(sum - golden(`randn.${seed}.${count}.sum`)[0]) < 1e-6 * count);
      }
    }
  }
  assert.ok(distance(torchRandn(1234, 2304), golden("randn.full")) <= 1e-6);
});

test("one torch generator goes on from call to call, and keeps its spare normal", () => {
  const generator = new TorchGenerator(3);
  [3, 20, 4, 16, 1, 2].forEach((count, i) => {
    const d = distance(generator.randn(count), golden(`randn.stream.${i}`));
    assert.ok(d <= 1e-6, `call ${i}: largest difference ${d}`);
  });
});

test("philox4x32 gives Random123's known answers", () => {
  const all = 0xffffffff;
  assert.deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assert.deepEqual(philox4x32([all, all, all, all], [all, all]), [
    0x408f276d,
    0x41c83b0e,
    0xa20bc7c6,
    0x6d5451fd,
  ]);
  assert.deepEqual(
    philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

test("philoxRandn agrees with an independent implementation, offsets included", () => {
  for (const seed of [0n, 42n, 2n ** 32n + 7n, 2n ** 64n - 1n]) {
    const generator = new PhiloxGenerator(seed);
    // Theirs has 2π in f64, ours in f32 as cuRAND: 1.7e-7 of an angle of 6, times a radius of 6.
    assert.ok(distance(generator.randn(40), golden(`philox.${seed}`)) <= 1.1e-6);
    assert.ok(distance(generator.randn(8), golden(`philox.${seed}.offset`)) <= 1.1e-6);
  }
});

test("philoxRandn gives the numbers that a GPU prints for seed 0", () => {
  // torch.manual_seed(0); torch.randn(3, 4, device="cuda"), as it is widely quoted to four digits.
  const quoted = [
    -0.9247,
    -0.4253,
    -2.6438,
    0.1452,
    -0.1209,
    -0.5797,
    -0.6229,
    -0.3284,
    -1.0745,
    -0.3631,
    -1.6711,
  ];
  assert.ok(distance(philoxRandn(0, 11), quoted) <= 5.1e-5);
});

test("every engine draws the same bits", () => {
  const z = new Float32Array([...torchRandn(7, 4099), ...torchRandn(8, 15), ...philoxRandn(9, 4099)]);
  assert.equal(fnv(new Uint8Array(z.buffer)).toString(16), "86a235f2");
});

test("a noise source by name", () => {
  assert.deepEqual(createNoiseSource("cpu", 5).randn(4), torchRandn(5, 4));
  assert.deepEqual(createNoiseSource("philox", 5).randn(4), philoxRandn(5, 4));
  assert.throws(() => createNoiseSource("gpu" as "cpu", 5), /"cpu" or "philox", found "gpu"/);
});

test("bad seeds and counts are refused by name", () => {
  for (const seed of [NaN, -1, 0.5, 2 ** 53, Infinity, -1n, 2n ** 64n]) {
    assert.throws(() => torchRandn(seed, 4), { name: "RangeError", message: /seed.*2\^64 - 1.*found/ });
    assert.throws(() => philoxRandn(seed, 4), RangeError);
  }
  for (const seed of ["1", null, undefined]) {
    assert.throws(() => torchRandn(seed as unknown as number, 4), { name: "TypeError", message: /seed/ });
  }
  for (const count of [NaN, -1, 1.5]) {
    assert.throws(() => torchRandn(0, count), { name: "RangeError", message: /elements/ });
    assert.throws(() => philoxRandn(0, count), RangeError);
  }
  assert.equal(torchRandn(0, 0).length, 0);
});
