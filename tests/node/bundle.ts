import { readFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as esbuild from "esbuild";

/**
 * One ES module of `entry` and all it imports, for Node 20, which reads neither TypeScript nor WGSL. Modules
 * see their source's own place as `import.meta.url`; packages are found by the runtime that runs this.
 */
export async function bundleForNode(entry: URL): Promise<string> {
  try {
    const { outputFiles } = await esbuild.build({
      entryPoints: [fileURLToPath(entry)],
      bundle: true,
      write: false,
      format: "esm",
      platform: "node",
      target: "node20",
      loader: { ".wgsl": "text" },
      logLevel: "silent",
      plugins: [{
        name: "places",
        setup(build) {
          build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
            if (kind === "entry-point" || path.startsWith("node:")) return;
            return { path: fileURLToPath(import.meta.resolve(path)) };
          });
          build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const source = await readFile(path, "utf8");
            const url = JSON.stringify(pathToFileURL(path).href);
            return { contents: source.replaceAll("import.meta.url", url), loader: "ts" };
          });
        },
      }],
    });
    return outputFiles[0].text;
  } finally {
    await esbuild.stop();
  }
}
