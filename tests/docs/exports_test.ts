/**
 * Every public name is in an example of a docstring. That the examples run is what `deno test --doc src` tests, a
 * stage of `deno task ok`.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../../src/", import.meta.url));

/** The code blocks of all docstrings. */
async function examples(): Promise<string[]> {
  const files = (await readdir(SRC, { recursive: true })).filter((name) => name.endsWith(".ts"));
  const found: string[] = [];
  for (const name of files) {
    const text = await readFile(join(SRC, name), "utf8");
    for (const [, code] of text.matchAll(/^ *\* ```ts\n((?: *\*.*\n)*?) *\* ```$/gm)) found.push(code);
  }
  return found;
}

for (const entry of ["mod.ts", "server/mod.ts"]) {
  test(`every name that ${entry} exports is imported by an example`, async () => {
    const specifier = entry === "mod.ts" ? "tome-edge" : "tome-edge/server";
    const imported = new Set<string>();
    for (const code of await examples()) {
      for (const [, list, from] of code.matchAll(/import \{([^}]*)\} from "([^"]+)"/g)) {
        if (from !== specifier) continue;
        for (const name of list.replaceAll(/[\s*]|\btype\b/g, "").split(",")) imported.add(name);
      }
    }
    const text = await readFile(join(SRC, entry), "utf8");
    const names = [...text.matchAll(/^export (?:type )?\{([^}]*)\} from /gm)]
      .flatMap(([, list]) => list.replaceAll(/\btype\b/g, "").split(",").map((name) => name.trim()))
      .filter((name) => name);
    assert(names.length >= 8, `found only ${names}`);
    assert.deepEqual(names.filter((name) => !imported.has(name)), []);
  });
}
