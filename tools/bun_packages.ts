/**
 * Installs for Bun what package.json names and, beside it, what only tests, benchmarks and builds need: the packages
 * that deno.dev.json has more than deno.json. Most are not in package.json, since whoever draws a first picture with
 * `deno task` would download them all. `bun run packages`
 */
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import process from "node:process";

const imports = async (name: string): Promise<string[]> =>
  Object.values(JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), "utf8")).imports);

const users = new Set(await imports("deno.json"));
const more = (await imports("deno.dev.json")).filter((target) =>
  target.startsWith("npm:") && !users.has(target)
);
// npm:/name@version/path
const packages = more.map((target) => /^npm:\/?((?:@[^/]+\/)?[^/]+)/.exec(target)![1]);
for (const args of [["install", "--no-save"], ["add", "--no-save", "--exact", ...packages]]) {
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
