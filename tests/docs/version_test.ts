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

/** Version by name of package, of the packages that a configuration's import map names. */
async function imported(name: string): Promise<Record<string, string>> {
  const { imports } = await json(name);
  return Object.fromEntries(
    Object.values<string>(imports).map((target) => /^npm:\/?((?:@[^/]+\/)?[^@/]+)@([^/]+)/.exec(target))
      .filter((match) => match !== null).map(([, name, version]) => [name, version]),
  );
}

test("deno.json and package.json name the same packages, pinned exactly, and of builds only the compiler and Bun's types", async () => {
  const { dependencies, devDependencies } = await json("package.json");
  assert.deepEqual(await imported("deno.json"), dependencies);
  for (const [name, version] of Object.entries<string>(dependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
  // `deno task` downloads them all before it draws a first picture: what else tests need is in deno.dev.json.
  assert.deepEqual(Object.keys(devDependencies), ["assemblyscript", "bun-types"]);
  assert.equal(devDependencies.assemblyscript, (await imported("deno.dev.json")).assemblyscript);
});

test("deno.dev.json is deno.json, with more packages", async () => {
  const users = await json("deno.json"), dev = await json("deno.dev.json");
  for (const key of ["nodeModulesDir", "unstable", "exclude", "compilerOptions"]) {
    assert.deepEqual(dev[key], users[key], key);
  }
  for (const [name, target] of Object.entries(users.imports)) assert.equal(dev.imports[name], target, name);
});

test("deno.lock has the packages of package.json alone", async () => {
  const { specifiers } = await json("deno.lock");
  const more = Object.keys(specifiers).filter((specifier) =>
    Object.keys(devOnly).some((name) => name !== "assemblyscript" && specifier.startsWith(`npm:${name}@`))
  );
  assert.deepEqual(more, []);
});

const all = await imported("deno.dev.json"), users = await imported("deno.json");
const devOnly = Object.fromEntries(Object.entries(all).filter(([name]) => !(name in users)));
