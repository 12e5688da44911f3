import { after, test } from "node:test";
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";
import { FAMILIES } from "./cases.ts";
import { assertClose } from "../support/assert_close.ts";
import { checkCase, EXACT, LAYOUTS } from "./op_case.ts";

/** One thread runs the kernels without shared memory and streams its weights, two share memory and keep them. */
for (const kernels of ["fast", "strict"] as const) {
  const one = await createWasmBackend({ kernels, threads: 1, residentBytes: 0, poison: true });
  const two = await createWasmBackend({ kernels, threads: 2, poison: true });
  after(async () => {
    await one.dispose();
    await two.dispose();
  });

  for (const [family, cases] of Object.entries(FAMILIES)) {
    test(`${family} with ${kernels} kernels agrees with the reference, and one thread with two`, async () => {
      for (const c of cases) {
        for (const layout of LAYOUTS) {
          const alone = await checkCase(one, c, layout);
          const shared = await checkCase(two, c, layout);
          assertClose(shared, alone, { ...EXACT, label: `${c.name}, ${layout}, two threads against one` });
        }
      }
    });
  }
}
