import assert from "node:assert/strict";

export interface Tolerance {
  /** Absolute, and relative to the expected value: |actual − expected| ≤ atol + rtol · |expected|. */
  atol: number;
  rtol?: number;
}

/** Fails with the largest excess and where it is; a NaN that is not expected is the largest of all. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol, rtol = 0, label = "values", shape }: Tolerance & { label?: string; shape?: readonly number[] },
): void {
  assert.equal(
    actual.length,
    expected.length,
    `${label}: expected ${expected.length} values, found ${actual.length}`,
  );
  let worst = 0, at = -1, wrong = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i]) || (Number.isNaN(actual[i]) && Number.isNaN(expected[i]))) continue;
    const allowed = atol + rtol * Math.abs(expected[i]);
    const difference = Math.abs(actual[i] - expected[i]);
    if (difference <= allowed) continue;
    wrong++;
    const excess = Number.isNaN(difference) ? Infinity : difference - allowed;
    if (excess > worst) worst = excess, at = i;
  }
  if (at < 0) return;
  assert.fail(
    `${label}: ${wrong} of ${expected.length} values differ, most at ${where(at, shape)}: expected ${
      expected[at]
    }, ` +
      `found ${actual[at]}, a difference of ${Math.abs(actual[at] - expected[at])} ` +
      `(atol ${atol}, rtol ${rtol})`,
  );
}

function where(index: number, shape?: readonly number[]): string {
  if (!shape) return `[${index}]`;
  const position: number[] = [];
  for (const size of [...shape].reverse()) {
    position.unshift(index % size);
    index = Math.floor(index / size);
  }
  return `[${position.join(", ")}]`;
}
