/** What the page's worker does for `chromium_test.ts`: one task, one answer. */
import { createBackend, type DeviceName } from "../../src/backend/mod.ts";
import { type GenerateOptions, loadPipeline } from "../../src/mod.ts";
import type { LoadOptions } from "../../src/pipeline/pipeline.ts";
import { FAMILIES } from "../ops/cases.ts";
import { checkCase, LAYOUTS } from "../ops/op_case.ts";

export type Task =
  /** Every `every`-th case of each family, in a layout that changes from case to case. */
  | { kind: "ops"; device: DeviceName; every: number }
  | { kind: "picture"; model?: string; load: LoadOptions; options: GenerateOptions };

export type Answer =
  | { kind: "ops"; device: string; checked: number; failures: string[] }
  | {
    kind: "picture";
    device: string;
    width: number;
    height: number;
    data: number[];
    notes?: readonly string[];
  }
  | { kind: "error"; message: string };

self.onmessage = async ({ data: task }: MessageEvent<Task>) => {
  let answer: Answer;
  try {
    answer = await perform(task);
  } catch (error) {
    answer = { kind: "error", message: error instanceof Error ? `${error.stack ?? error}` : `${error}` };
  }
  self.postMessage(answer);
};

async function perform(task: Task): Promise<Answer> {
  switch (task.kind) {
    case "ops": {
      const backend = await createBackend(task.device);
      const failures: string[] = [];
      let checked = 0;
      for (const cases of Object.values(FAMILIES)) {
        for (const [i, c] of cases.entries()) {
          if (i % task.every) continue;
          try {
            await checkCase(backend, c, LAYOUTS[checked++ % LAYOUTS.length]);
          } catch (error) {
            failures.push(error instanceof Error ? error.message : `${error}`);
          }
        }
      }
      const device = backend.description;
      await backend.dispose();
      return { kind: "ops", device, checked, failures };
    }
    case "picture": {
      const pipe = await loadPipeline(task.model, { ...task.load, worker: false });
      const { images: [{ width, height, data }] } = await pipe.generate(task.options);
      const { device, notes } = pipe.info;
      await pipe.dispose();
      return { kind: "picture", device, width, height, data: [...data], notes };
    }
    default:
      return task satisfies never;
  }
}
