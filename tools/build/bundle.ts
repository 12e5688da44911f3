/** The modules of dist/, made by esbuild. */
import * as esbuild from "esbuild";
import { readFile } from "node:fs/promises";
import { bundled, inlinedKernels, inRoot, nodeModules, packages, shaders } from "./plugins.ts";

/** A file of dist/. */
export interface Output {
  name: string;
  contents: string | Uint8Array;
}

/** What a bundle is made of. */
export interface Bundled {
  outputs: Output[];
  /** Files of packages in it. */
  inputs: string[];
}

export const VERSION: string = JSON.parse(await readFile(inRoot("package.json"), "utf8")).version;

const COMMON: esbuild.BuildOptions = {
  absWorkingDir: inRoot("."),
  bundle: true,
  write: false,
  minify: true,
  charset: "utf8",
  // What bundlers of others lower to by default: see `bundleAll`.
  target: "es2020",
  legalComments: "none",
  sourcemap: "linked",
  metafile: true,
  logLevel: "silent",
};

const NOTICE = `/*! tome-edge ${VERSION}, MIT; the packages in it: LICENSES.txt */`;

/**
 * Everything in one module. It is one function, so that its text is the script of the engine's worker and nothing
 * has to be there twice; a bundler of others must not take anything out of it, as esbuild takes out helpers for
 * syntax newer than its target.
 */
export async function bundleAll(name: string): Promise<Bundled> {
  const options: esbuild.BuildOptions = {
    ...COMMON,
    entryPoints: [inRoot("tools/build/entries/tome_edge.ts")],
    outfile: inRoot(`dist/${name}`),
    define: { KERNELS: await inlinedKernels() },
    plugins: [
      bundled([
        "src/backend/wasm/kernel_bytes.ts",
        "src/pipeline/embedded_model.ts",
        "src/pipeline/start_worker.ts",
      ], VERSION),
      packages,
      nodeModules,
      shaders,
    ],
  };
  const { metafile } = await esbuild.build({ ...options, format: "esm" });
  const exports = Object.values(metafile!.outputs).flatMap((output) => output.exports)
    .filter((name) => name !== "serveEngine").sort();
  const result = await esbuild.build({
    ...options,
    format: "iife",
    globalName: "made",
    define: { ...options.define, "import.meta.url": "HERE" },
    banner: { js: `${NOTICE}\nconst tomeEdge=function tomeEdge(HERE){"use strict";` },
    footer: {
      js: `return made};\nconst made=tomeEdge(import.meta.url);export const ${
        exports.map((name) => `${name}=made.${name}`).join(",")
      };`,
    },
  });
  return finished(result);
}

/** Token merging alone. */
export async function bundleTome(name: string): Promise<Bundled> {
  return finished(
    await esbuild.build({
      ...COMMON,
      entryPoints: [inRoot("tools/build/entries/tome.ts")],
      outfile: inRoot(`dist/${name}`),
      format: "esm",
      target: "es2022",
      define: { KERNELS: await inlinedKernels() },
      banner: { js: NOTICE },
      plugins: [bundled(["src/backend/wasm/kernel_bytes.ts"], VERSION), packages, nodeModules, shaders],
    }),
  );
}

/** A program of the npm package: packages stay imports, and so do the modules that another file of dist/ exports. */
export async function bundleProgram(
  name: string,
  entry: string,
  elsewhere: Readonly<Record<string, string>>,
): Promise<Bundled> {
  const files = new Map(Object.entries(elsewhere).map(([path, by]) => [inRoot(path), by]));
  const others: esbuild.Plugin = {
    name: "elsewhere",
    setup(build) {
      build.onResolve({ filter: /./ }, async ({ path, kind, pluginData, ...from }) => {
        if (kind === "entry-point" || pluginData === "resolved") return;
        if (!path.startsWith(".")) return { path, external: true };
        const found = await build.resolve(path, { kind, pluginData: "resolved", ...from });
        const by = files.get(found.path);
        return by === undefined ? found : { path: by, external: true };
      });
    },
  };
  return finished(
    await esbuild.build({
      ...COMMON,
      entryPoints: [inRoot(entry)],
      outfile: inRoot(`dist/${name}`),
      format: "esm",
      platform: "node",
      target: "es2022",
      banner: { js: NOTICE },
      plugins: [others, shaders],
    }),
  );
}

function finished({ outputFiles, metafile }: esbuild.BuildResult): Bundled {
  return {
    outputs: outputFiles!.map(({ path, text }) => {
      const name = path.slice(inRoot("dist/").length);
      return { name, contents: name.endsWith(".map") ? tidyMap(text) : text };
    }),
    inputs: Object.keys(metafile!.inputs).filter((path) => /\/(node_modules|npm)\//.test(`/${path}`)),
  };
}

/** The same on every machine: packages lie in its caches. */
function tidyMap(text: string): string {
  const map = JSON.parse(text);
  map.sources = map.sources.map((source: string) =>
    source.replace(/^.*\/(?:npm\/[^/]+|node_modules)\//, "../node_modules/")
  );
  return JSON.stringify(map);
}
