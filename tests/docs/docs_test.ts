/** The pages: what they link to is there, and the commands that they name are. */
import assert from "node:assert/strict";
import { access, readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const markdown = async (folder: string) =>
  (await readdir(join(ROOT, folder))).filter((name) => name.endsWith(".md")).map((name) =>
    join(folder, name)
  );
const pages = [
  ...await markdown("."),
  ...await markdown("docs"),
  ...await markdown("examples"),
  ...await markdown("asm"),
  ...await markdown("tests/goldens"),
];
const exists = (path: string) => access(path).then(() => true, () => false);
const withoutCode = (text: string) =>
  text.replaceAll(/^```[^]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "`code`");

/** As GitHub makes them. */
const anchor = (heading: string) =>
  heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(" ", "-");

test("every link leads to a file of this repository and to a heading in it, or out into the world", async () => {
  const broken: string[] = [];
  for (const page of pages) {
    const text = await readFile(join(ROOT, page), "utf8");
    for (const [, target] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path, hash] = target.split("#");
      const file = path ? join(dirname(page), path) : page;
      if (relative(".", file).startsWith("..") || !await exists(join(ROOT, file))) {
        broken.push(`${page}: ${target}`);
        continue;
      }
      if (!hash) continue;
      const headings = (await readFile(join(ROOT, file), "utf8")).matchAll(/^#+ (.+)$/gm);
      if (![...headings].some(([, heading]) => anchor(heading) === hash)) broken.push(`${page}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every page of docs/ and every example is in its index", async () => {
  for (const folder of ["docs", "examples"]) {
    const index = await readFile(join(ROOT, folder, "README.md"), "utf8");
    const names = (await readdir(join(ROOT, folder))).filter((name) => /\.(md|ts|js|html)$/.test(name));
    const missing = names.filter((name) => name !== "README.md" && !index.includes(`](${name})`));
    assert.deepEqual(missing, [], folder);
  }
});

test("every example is run by a test", async () => {
  const tests = await readdir(join(ROOT, "tests/examples"));
  const text = (await Promise.all(tests.map((name) => readFile(join(ROOT, "tests/examples", name), "utf8"))))
    .join();
  const programs = (await readdir(join(ROOT, "examples"))).filter((name) => /\.(ts|js|html)$/.test(name));
  assert(programs.length > 5);
  assert.deepEqual(programs.filter((name) => !text.includes(`"${name}"`) && !text.includes(`/${name}`)), []);
});

test("every task and every script that a page names is there", async () => {
  const { tasks } = JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8"));
  const { scripts } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
  const missing: string[] = [];
  for (const page of pages) {
    const text = await readFile(join(ROOT, page), "utf8");
    for (const [, task] of text.matchAll(/deno(?:@2)? task ([a-z][\w:]*)/g)) {
      if (!Object.hasOwn(tasks, task)) missing.push(`${page}: deno task ${task}`);
    }
    for (
      const [, name] of text.matchAll(/(?:deno run -A(?: -c deno.dev.json)?|bun(?:@1)? run) ([\w./:]+)/g)
    ) {
      const there = name.includes("/") ? await exists(join(ROOT, name)) : Object.hasOwn(scripts, name);
      if (!there) missing.push(`${page}: ${name}`);
    }
  }
  assert.deepEqual(missing, []);
});
