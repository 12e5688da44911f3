import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { cos, exp, log, pow, sin } from "../../src/samplers/math.ts";
import { fnv } from "./goldens.ts";

// By mpmath with 200 bits, rounded to f64; tests/goldens/make_samplers.py makes it.
const golden: Record<string, number[][]> = JSON.parse(
  readFileSync(new URL("../goldens/samplers_math.json", import.meta.url), "utf8"),
);

function ulpsApart(a: number, b: number): number {
  const bits = (x: number) => new DataView(new Float64Array([x]).buffer).getBigInt64(0, true);
  const ordered = (x: number) => bits(x) < 0n ? -(bits(x) & 0x7fffffffffffffffn) : bits(x);
  const d = Number(ordered(a) - ordered(b));
  return Math.abs(d);
}

const functions: [string, (...args: number[]) => number][] = [
  ["exp", exp],
  ["log", log],
  ["sin", sin],
  ["cos", cos],
  ["pow", pow],
];

for (const [name, f] of functions) {
  test(`${name} is within one ulp of the exact value`, () => {
    assert.ok(golden[name].length > 60);
    for (const row of golden[name]) {
      const args = row.slice(0, -1), expected = row[row.length - 1];
      // pow's own bound outside 1e-14 … 1e14
      const limit = name === "pow" && Math.abs(Math.log10(expected)) > 14 ? 3 : 1;
      const found = f(...args);
      assert.ok(
        ulpsApart(found, expected) <= limit,
        `${name}(${args}): expected ${expected}, found ${found}`,
      );
    }
  });
}

test("special arguments give what Math gives", () => {
  for (const x of [0, -0, Infinity, -Infinity, NaN, 710, -746]) assert.equal(exp(x), Math.exp(x));
  for (const x of [0, -0, 1, -1, Infinity, NaN]) assert.equal(log(x), Math.log(x));
  for (const [x, y] of [[0, 0], [0, 2], [0, -1], [Infinity, 2], [Infinity, -2], [1, 5], [3, 0], [-2, 0.5]]) {
    assert.equal(pow(x, y), Math.pow(x, y), `pow(${x}, ${y})`);
  }
  assert.ok(Object.is(sin(-0), -0));
  assert.equal(cos(0), 1);
});

test("an angle too large to reduce is refused", () => {
  for (const x of [2e6, -2e6, Infinity, NaN]) {
    assert.throws(() => sin(x), { name: "RangeError", message: /within ±1600000/ });
    assert.throws(() => cos(x), RangeError);
  }
});

test("every engine gives the same bits", () => {
  const out = new Float64Array(50000);
  let state = 1;
  const next = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) / 0x100000000;
  for (let i = 0; i < out.length; i += 5) {
    out[i] = exp(next() * 60 - 30);
    out[i + 1] = log(next() * 10 + 1e-9);
    out[i + 2] = sin(next() * 2000 - 1000);
    out[i + 3] = cos(next() * 7);
    out[i + 4] = pow(next() * 20, next() * 8 - 1);
  }
  assert.equal(fnv(new Uint8Array(out.buffer)).toString(16), "87a77f93");
});
