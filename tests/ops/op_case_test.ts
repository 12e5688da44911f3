import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { assertClose } from "../support/assert_close.ts";
import { checkCase, opCase } from "./op_case.ts";

/** The reference, except for some operations. */
function altered(change: (b: Backend) => Partial<Backend>): Backend {
  const b = createReferenceBackend(), changed = new Map<PropertyKey, unknown>(Object.entries(change(b)));
  return new Proxy(b, {
    get(target, key) {
      const value = changed.get(key) ?? Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const silu = opCase("silu", [[5, 3]], (b, [x]) => b.activation(x, "silu"));

test("checkCase finds a wrong value, a value left out, a stray write and a changed input", async () => {
  await checkCase(createReferenceBackend(), silu, "columns");
  const finds = (message: RegExp, change: (b: Backend) => Partial<Backend>) =>
    assert.rejects(checkCase(altered(change), silu, "columns"), message);

  await finds(/silu, columns, on .*: 15 of 15 values differ, most at \[\d, \d\]/, (b) => ({
    activation: (x) => b.lincomb([[1, b.activation(x, "silu")], [1e-3, x]]),
  }));
  await finds(/found NaN/, (b) => ({
    activation(x) {
      const out = b.empty(x.shape);
      b.write(b.rows(out, 0, 4), b.activation(b.rows(x, 0, 4), "silu"));
      return out;
    },
  }));
  await finds(/input 0 afterwards/, (b) => ({
    activation(x) {
      const out = b.activation(x, "silu");
      b.write(x, out);
      return out;
    },
  }));
  const uploads: Tensor[] = [];
  await finds(/memory beside the output/, (b) => ({
    upload(data, shape) {
      uploads.push(b.upload(data, shape));
      return uploads[uploads.length - 1];
    },
    activation(x) {
      const last = uploads[uploads.length - 1];
      b.write(last, b.lincomb([[2, last]]));
      return b.activation(x, "silu");
    },
  }));
});

test("assertClose names the worst of the wrong values", () => {
  assertClose([1, 2.01], [1, 2], { atol: 0.02 });
  assertClose([100.5], [100], { atol: 0, rtol: 0.01 });
  assert.throws(() => assertClose([1, 2, 3.5, 4.1], [1, 2, 3, 4], { atol: 0.01, shape: [2, 2] }), {
    message: /2 of 4 values differ, most at \[1, 0\]: expected 3, found 3.5, a difference of 0.5/,
  });
  assert.throws(() => assertClose([1, NaN], [9, 1], { atol: 0 }), /most at \[1\]: expected 1, found NaN/);
  assert.throws(() => assertClose([1], [1, 2], { atol: 9 }), /expected 2 values, found 1/);
});
