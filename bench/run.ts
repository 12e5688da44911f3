/**
 * `deno task bench [name] [--json]`, `bun run bench [name] [--json]`: benchmarks by name, `kernels` by default.
 * Each checks its results before it times them.
 */
import process from "node:process";
import type { Report } from "./measure.ts";

const benchmarks: Record<string, () => Promise<{ run(report: Report): Promise<void> }>> = {
  kernels: () => import("./kernels.ts"),
  tome: () => import("./tome.ts"),
  step: () => import("./step.ts"),
  ceilings: () => import("./ceilings.ts"),
  pause: () => import("./pause.ts"),
  gpu: () => import("./gpu.ts"),
  server: () => import("./server.ts"),
};

const json = process.argv.includes("--json");
const name = process.argv.slice(2).find((arg) => !arg.startsWith("--")) ?? "kernels";
if (!Object.hasOwn(benchmarks, name)) {
  console.error(`Cannot run benchmark "${name}": expected one of ${Object.keys(benchmarks).join(", ")}`);
  process.exit(2);
}
const rows: Record<string, string | number>[] = [];
const { run } = await benchmarks[name]();
await run({
  line: (text) => json ? undefined : console.log(text),
  row: (row) => void rows.push(row),
});
if (json) console.log(JSON.stringify({ benchmark: name, rows }, null, 2));
