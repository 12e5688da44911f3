/**
 * Bundles src/server/page/ into its pkg/: `deno task build:page`. With `--check` nothing is written; it fails if
 * the committed files are not what the sources give.
 */
import * as esbuild from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const page = new URL("../src/server/page/", import.meta.url);
const folder = (url: string | URL) => fileURLToPath(new URL(url, page));

/** What the bundle holds of others; their licences go with it. Deno knows only those places of which it saw an import. */
const PACKAGES = Object.keys(
  {
    "eventsource-parser/stream": () => import("eventsource-parser/stream"),
    "fflate": () => import("fflate"),
    "hono/jsx/dom": () => import("hono/jsx/dom"),
    "idb-keyval": () => import("idb-keyval"),
  },
);
const NAMES = PACKAGES.map((path) => path.split("/")[0]);
const BANNER = `/* tome-edge's page, made by tools/build_page.ts; it holds ${
  NAMES.join(", ")
}: see LICENSES.txt. */`;

async function build(entry: string): Promise<string> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [folder(entry)],
    bundle: true,
    minify: true,
    write: false,
    charset: "utf8",
    format: "esm",
    target: "es2022",
    // light-dark() and nesting are left as they are: browsers of 2024 have them.
    supported: { nesting: true },
    jsx: "automatic",
    jsxImportSource: "hono/jsx/dom",
    legalComments: "none",
    banner: { js: BANNER },
    logLevel: "warning",
    plugins: [{
      name: "packages",
      setup(build) {
        // The runtime that runs this finds them, so that Deno needs no `node_modules`.
        build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
          if (kind === "entry-point") return;
          const file = fileURLToPath(import.meta.resolve(path));
          return { path: file.replace(/fflate(.*)esm\/index\.mjs$/, "fflate$1esm/browser.js") };
        });
      },
    }],
  });
  return outputFiles[0].text;
}

/** The text of a package's own licence file. */
async function licence(path: string): Promise<string> {
  const name = path.split("/")[0];
  for (let at = dirname(fileURLToPath(import.meta.resolve(path)));; at = dirname(at)) {
    if (at === dirname(at)) throw new Error(`Cannot find the licence of ${name}`);
    const { name: found } = JSON.parse(await readFile(join(at, "package.json"), "utf8").catch(() => "{}"));
    if (found !== name) continue;
    for (const file of ["LICENSE", "LICENCE", "LICENSE.md"]) {
      const text = await readFile(join(at, file), "utf8").catch(() => undefined);
      if (text) return `== ${name}\n\n${text.trim()}\n`;
    }
  }
}

const outputs = new Map([
  ["page.js", await build("client/main.tsx")],
  ["page.css", await build("style/page.css")],
  ["LICENSES.txt", (await Promise.all(PACKAGES.map(licence))).join("\n\n")],
]);
await esbuild.stop();

const check = process.argv.includes("--check");
const stale: string[] = [];
await mkdir(folder("pkg/"), { recursive: true });
for (const [name, text] of outputs) {
  const file = folder(`pkg/${name}`);
  if (!check) {
    await writeFile(file, text);
    console.log(`src/server/page/pkg/${name} ${text.length} characters`);
  } else if (await readFile(file, "utf8").catch(() => "") !== text) stale.push(`src/server/page/pkg/${name}`);
}
if (stale.length > 0) {
  console.error(`Out of date: ${stale.join(", ")}. Run "deno task build:page" and commit the result.`);
  process.exit(1);
}
