import { after, test } from "node:test";
import { gpuBackends } from "../support/gpu.ts";
import { FAMILIES } from "./cases.ts";
import { checkCase, LAYOUTS } from "./op_case.ts";

/** Deno takes 12 ms to answer, whatever the question. */
const AT_ONCE = 16;
/** SwiftShader, which Bun has, is slow: one layout a case there, by turns. */
const turns = "Bun" in globalThis;

for (const [device, b] of Object.entries(await gpuBackends({ poison: true }))) {
  after(() => b.dispose());
  for (const [family, cases] of Object.entries(FAMILIES)) {
    test(`${family} on ${device} agrees with the reference`, async () => {
      const half = b.host.f16;
      const checks = cases.flatMap((c, i) =>
        (turns ? [LAYOUTS[i % LAYOUTS.length]] : LAYOUTS).map((layout) => [c, layout] as const)
      );
      for (let first = 0; first < checks.length; first += AT_ONCE) {
        const some = checks.slice(first, first + AT_ONCE);
        await Promise.all(some.map(([c, layout]) => checkCase(b, c, layout, { half })));
      }
    });
  }
}
