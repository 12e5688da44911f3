import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { WebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import { sharedText } from "../../src/backend/webgpu/shared_text.ts";
import { gpuBackends } from "../support/gpu.ts";
import { FAMILIES } from "./cases.ts";
import { checkCase, LAYOUTS, type OpCase } from "./op_case.ts";

/** Deno takes 12 ms to answer, whatever the question. */
const AT_ONCE = 16;
/** One layout a case, by turns, on SwiftShader, which Bun has and which is slow, and in f16, whose texts are f32's. */
const byTurns = (b: WebgpuBackend) => "Bun" in globalThis || b.host.f16;

const all = await gpuBackends({ poison: true });
const without = await gpuBackends({ poison: true, subgroups: false });
after(() => Promise.all([all, without].flatMap(Object.values).map((b) => b.dispose())));

async function checkAll(
  b: WebgpuBackend,
  cases: readonly OpCase[],
  { turns }: { turns: boolean },
): Promise<void> {
  const half = b.host.f16;
  const checks = cases.flatMap((c, i) =>
    (turns ? [LAYOUTS[i % LAYOUTS.length]] : LAYOUTS).map((layout) => [c, layout] as const)
  );
  for (let first = 0; first < checks.length; first += AT_ONCE) {
    const some = checks.slice(first, first + AT_ONCE);
    await Promise.all(some.map(([c, layout]) => checkCase(b, c, layout, { half })));
  }
}

for (const [device, b] of Object.entries(all)) {
  /** Cases that ran a kernel of two texts, with subgroups and without: all other kernels are one. */
  const shared = new Set<OpCase>();
  let seen = false;
  const { recorder } = b.host, dispatch = recorder.dispatch.bind(recorder);
  recorder.dispatch = (d) => {
    if (d.kernel.shared?.some((name) => sharedText(name, b.host.subgroups).uses)) seen = true;
    dispatch(d);
  };
  const watched = (c: OpCase): OpCase => {
    const own: OpCase = {
      ...c,
      op: (on, inputs, weights) => {
        seen = false;
        const result = c.op(on, inputs, weights);
        if (seen) shared.add(own);
        return result;
      },
    };
    return own;
  };
  for (const [family, cases] of Object.entries(FAMILIES)) {
    const both = cases.map(watched);
    const least = { norms: 1, tome: 1, attention: 8 }[family] ?? Infinity; // threads of the subgroups it uses
    const uses = b.host.subgroups !== undefined && b.host.subgroups.size >= least;
    test(`${family} on ${device} agrees with the reference`, async () => {
      await checkAll(b, both, { turns: byTurns(b) });
      assert.equal(both.some((c) => shared.has(c)), uses, "whether its kernels use subgroups");
    });
    if (uses) {
      test(`${family} on ${device} without subgroups agrees with the reference`, async () => {
        await checkAll(without[device], both.filter((c) => shared.has(c)), { turns: true });
      });
    }
  }
}
