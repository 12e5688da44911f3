import { DeviceError } from "../../errors.ts";
import type { Backend, HostTensor } from "../backend.ts";

/** Few rows and many take different kernels. */
const ROWS = [2, 40], DEPTH = 20, COLS = 9;

/** Small integers, so that sums are exact in f16 too. */
const value = (row: number, column: number) => (row * 7 + column * 5) % 7 - 3;

/**
 * A matrix product, a matching and a merge whose results are known: a driver may be there and compute nothing,
 * or the wrong thing.
 *
 * @throws {DeviceError} with what was expected and found.
 */
export async function selfTest(b: Backend): Promise<void> {
  const refuse = (what: string, expected: number, found: number | undefined) => {
    throw new DeviceError(
      `Cannot use ${b.description}: its ${what} is wrong: expected ${expected}, found ${found}`,
    );
  };
  const compare = (what: string, expected: ArrayLike<number>, found: ArrayLike<number>) => {
    for (let i = 0; i < expected.length; i++) {
      if (found[i] !== expected[i]) refuse(`${what}, at ${i},`, expected[i], found[i]);
    }
  };

  const weights = new Float32Array(COLS * DEPTH);
  for (let o = 0; o < COLS; o++) for (let i = 0; i < DEPTH; i++) weights[o * DEPTH + i] = value(o, 3 * i);
  const data = new Uint8Array(weights.buffer);
  const host: HostTensor = { name: "self-test", dtype: "F32", shape: [COLS, DEPTH], data };
  const w = b.linearWeight([host]);
  for (const rows of ROWS) {
    const input = new Float32Array(rows * DEPTH), product = new Float32Array(rows * COLS);
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < DEPTH; i++) {
        const v = input[r * DEPTH + i] = value(2 * r, i);
        for (let o = 0; o < COLS; o++) product[r * COLS + o] += v * weights[o * DEPTH + i];
      }
    }
    const y = b.scope(() => b.linear(b.upload(input, [rows, DEPTH]), w));
    compare(`matrix product of ${rows} rows`, product, await b.read(y));
    b.free(y);
  }

  // A grid of 2×4, destinations 0 and 2. Tokens 1 and 6 are destination 0 in other lengths, 3 is near
  // destination 2; 4, 5 and 7 stand across. Merging 3 leaves 4, 5, 7, then the destinations.
  const metric = Float32Array.from([
    ...[1, 0, 0, 0],
    ...[2, 0, 0, 0],
    ...[0, 1, 0, 0],
    ...[0, 2, 1, 0],
    ...[0, 0, 1, 0],
    ...[0, 0, 0, 1],
    ...[3, 0, 0, 0],
    ...[0, 0, 2, 2],
  ]);
  const [plan, merged, back] = b.scope(() => {
    const x = b.upload(metric, [1, 8, 4]);
    const plan = b.match(x, { height: 2, width: 4, sx: 2, sy: 2, r: 3 });
    const merged = b.merge(plan, x);
    return [plan, merged, b.unmerge(plan, merged)] as const;
  });
  const rowOf = [3, 3, 4, 4, 0, 1, 3, 2];
  const means = [0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 2, 2, 2, 0, 0, 0, 0, 1.5, 0.5, 0];
  compare("matching", rowOf, (await b.readPlan(plan)).rowOf);
  compare("merge", means, await b.read(merged));
  compare("unmerge", rowOf.flatMap((row) => means.slice(row * 4, row * 4 + 4)), await b.read(back));
  for (const x of [plan, merged, back]) b.free(x);
}
