import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { VERSION } from "../../src/version.ts";

const json = async (name: string) =>
  JSON.parse(await readFile(new URL(`../../${name}`, import.meta.url), "utf8"));

test("package.json has the version, deno.json repeats it, VERSION reads it", async () => {
  const { version } = await json("package.json");
  assert.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/);
  assert.equal((await json("deno.json")).version, version);
  assert.equal(VERSION, version);
});

test("packages that deno.json and package.json both name have one version, pinned exactly", async () => {
  const { dependencies, devDependencies } = await json("package.json");
  const named: Record<string, string> = { ...dependencies, ...devDependencies };
  const { imports } = await json("deno.json");
  const found = new Set<string>();
  for (const [specifier, target] of Object.entries<string>(imports)) {
    const match = /^npm:\/?((?:@[^/]+\/)?[^@/]+)@([^/]+)/.exec(target);
    if (!match) continue;
    const [, name, version] = match;
    assert.equal(named[name], version, `${specifier} in deno.json`);
    found.add(name);
  }
  for (const [name, version] of Object.entries(named)) assert.match(version, /^\d+\.\d+\.\d+$/, name);
  const onlyBun = ["bun-types"];
  const lacking = Object.keys(named).filter((name) => !found.has(name) && !onlyBun.includes(name));
  assert.deepEqual(lacking, [], "in package.json, not in deno.json");
});
