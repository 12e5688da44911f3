/** Bundled and run in Node by `gpu_test.ts`: the GPU's self-test, and some operations against the reference. */
import { createBackend } from "../../src/backend/mod.ts";
import { messageOf } from "../../src/backend/webgpu/adapter.ts";
import { inNode } from "../../src/backend/webgpu/node.ts";
import { FAMILIES } from "../ops/cases.ts";
import { checkCase } from "../ops/op_case.ts";

export interface Answer {
  device: string;
  checked: number;
  failures: string[];
}

/** The first and the last case of each family. */
async function perform(): Promise<Answer> {
  const backend = await createBackend("gpu");
  const failures: string[] = [];
  let checked = 0;
  for (const cases of Object.values(FAMILIES)) {
    for (const c of [cases[0], cases[cases.length - 1]]) {
      checked++;
      await checkCase(backend, c, "plain").catch((error) => failures.push(messageOf(error)));
    }
  }
  const device = backend.description;
  await backend.dispose();
  return { device, checked, failures };
}

if (inNode) {
  perform().then(
    (answer) => console.log(JSON.stringify(answer)),
    (error) => console.log(JSON.stringify({ error: messageOf(error) })),
  );
} else {
  console.log("Not Node");
}
