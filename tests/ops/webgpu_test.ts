import { after, test } from "node:test";
import { gpuBackends } from "../support/gpu.ts";
import { FAMILIES } from "./cases.ts";
import { checkCase, LAYOUTS } from "./op_case.ts";

for (const [device, b] of Object.entries(await gpuBackends({ poison: true }))) {
  after(() => b.dispose());
  for (const [family, cases] of Object.entries(FAMILIES)) {
    test(`${family} on ${device} agrees with the reference`, async () => {
      const half = b.host.f16;
      for (const c of cases) for (const layout of LAYOUTS) await checkCase(b, c, layout, { half });
    });
  }
}
