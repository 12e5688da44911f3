import { readFile } from "node:fs/promises";
import { extname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Node's modules as a page has them: files come from the server, over HTTP. */
const shim = (name: string) => fileURLToPath(new URL(`node_shims/${name}.ts`, import.meta.url));
const NODE: Record<string, string> = {
  "node:assert/strict": shim("assert"),
  "node:fs/promises": shim("fs"),
  "node:path": shim("path"),
  "node:process": shim("process"),
  "node:url": shim("url"),
};

/**
 * One ES module of `entry` and all it imports, for a page. The runtime that runs this finds the packages, so
 * that Deno needs no `node_modules`; modules see the server's URL of their own file as `import.meta.url`.
 */
export async function bundle(entry: URL): Promise<string> {
  try {
    const { outputFiles } = await esbuild.build({
      entryPoints: [fileURLToPath(entry)],
      bundle: true,
      write: false,
      format: "esm",
      target: "esnext",
      loader: { ".wgsl": "text" },
      logLevel: "silent",
      plugins: [{
        name: "places",
        setup(build) {
          build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
            if (kind === "entry-point") return;
            if (path.startsWith("node:")) {
              return NODE[path]
                ? { path: NODE[path] }
                : { errors: [{ text: `${path} is not in a browser` }] };
            }
            const file = fileURLToPath(import.meta.resolve(path));
            // What the package's own "browser" field says.
            return { path: file.replace(/fflate(.*)esm\/index\.mjs$/, "fflate$1esm/browser.js") };
          });
          build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const url = JSON.stringify(`/${relative(ROOT, path)}`);
            const source = await readFile(path, "utf8");
            return {
              contents: source.replaceAll("import.meta.url", `(self.location.origin + ${url})`),
              loader: extname(path) === ".ts" ? "ts" : "js",
            };
          });
        },
      }],
    });
    return outputFiles[0].text;
  } finally {
    await esbuild.stop();
  }
}
