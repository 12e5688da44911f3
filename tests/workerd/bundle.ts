import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

/** Imported, they do nothing: what is not used of them can go, as the package's `sideEffects` says. */
const PURE = /\/(src|kernels|asm)\//;

/**
 * One ES module of `entry` and all it imports, for workerd: WebAssembly stays an import, of a file beside it.
 * Gives its text and the modules that it imports at its top.
 */
export async function bundleForWorkerd(entry: URL): Promise<{ text: string; imports: string[] }> {
  try {
    const { outputFiles: [{ text }], metafile } = await esbuild.build({
      entryPoints: [fileURLToPath(entry)],
      outfile: "worker.js",
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      target: "esnext",
      conditions: ["workerd", "browser"],
      external: ["node:*"], // imported where there are files only
      loader: { ".wgsl": "text" },
      logLevel: "silent",
      plugins: [{
        name: "places",
        setup(build) {
          build.onResolve({ filter: /\.wasm$/ }, ({ path }) => ({
            path: `./${path.slice(path.lastIndexOf("/") + 1)}`,
            external: true,
          }));
          build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
            if (kind === "entry-point" || path.startsWith("node:")) return;
            const file = fileURLToPath(import.meta.resolve(path));
            return { path: file.replace(/fflate(.*)esm\/index\.mjs$/, "fflate$1esm/browser.js") };
          });
          build.onResolve({ filter: /^\./ }, ({ path, importer }) => {
            const file = fileURLToPath(new URL(path, `file://${importer}`));
            return PURE.test(file) ? { path: file, sideEffects: false } : undefined;
          });
        },
      }],
    });
    const { imports } = Object.values(metafile.outputs)[0];
    return { text, imports: imports.filter((i) => i.kind === "import-statement").map((i) => i.path) };
  } finally {
    await esbuild.stop();
  }
}
