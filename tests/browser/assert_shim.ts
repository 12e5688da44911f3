/** The part of `node:assert/strict` that the op cases use. */
export default {
  equal(actual: unknown, expected: unknown, message?: string): void {
    if (!Object.is(actual, expected)) fail(message, actual, expected);
  },
  /** Of plain arrays of numbers. */
  deepEqual(
    actual: readonly number[] | undefined,
    expected: readonly number[] | undefined,
    message?: string,
  ): void {
    if (actual?.length !== expected?.length || actual?.some((v, i) => !Object.is(v, expected![i]))) {
      fail(message, actual, expected);
    }
  },
  fail(message: string): never {
    throw new Error(message);
  },
};

function fail(message: string | undefined, actual: unknown, expected: unknown): never {
  throw new Error(`${message ?? "values"}: expected ${expected}, found ${actual}`);
}
