/** The modules of dist/, made by esbuild. */
import * as esbuild from "esbuild";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import {
  bundled,
  inlinedKernels,
  inRoot,
  nodeModules,
  packages,
  shaders,
  texts,
  without,
} from "./plugins.ts";

/** A file of dist/. */
export interface Output {
  name: string;
  contents: string;
}

/** Files of dist/, and what is in them. */
export interface Bundled {
  outputs: Output[];
  /** Names of the packages in it. */
  packages: string[];
  /** Names that the module exports. */
  exports: string[];
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

/** Deno, which imports a module by its URL, finds the declarations by the first comment. */
const typed = (name: string) => `/* @ts-self-types="./${name.replace(/js$/, "d.ts")}" */\n${NOTICE}`;

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
    banner: { js: `${typed(name)}\nconst tomeEdge=function tomeEdge(HERE){"use strict";` },
    footer: {
      js: `return made};\nconst made=tomeEdge(import.meta.url);export const ${
        exports.map((name) => `${name}=made.${name}`).join(",")
      };`,
    },
  });
  return { ...finished(result), exports };
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
      banner: { js: typed(name) },
      plugins: [
        bundled(["src/backend/wasm/kernel_bytes.ts"], VERSION),
        packages,
        nodeModules,
        without(
          /src.backend.(wasm|webgpu).(attention|conv|norm)\.ts$/,
          "expected tome-edge.js, found tome.js, which merges tokens only",
        ),
        shaders,
      ],
    }),
  );
}

/**
 * `entry` and all it imports for Cloudflare's runtime: WebAssembly stays an import, of a file beside it. What is not
 * used goes, since our modules do nothing when they are imported: the package's `sideEffects` says so.
 */
export async function bundleWorkerd(
  name: string,
  entry = inRoot("src/workerd.ts"),
): Promise<Bundled & { imports: string[] }> {
  const pure: esbuild.Plugin = {
    name: "pure",
    setup(build) {
      build.onResolve({ filter: /\.wasm$/ }, ({ path }) => ({
        path: `./${path.slice(path.lastIndexOf("/") + 1)}`,
        external: true,
      }));
      build.onResolve({ filter: /^\./ }, ({ path, resolveDir, namespace }) => {
        const file = resolve(resolveDir, path);
        const ours = namespace === "file" &&
          [inRoot("src/"), inRoot("asm/")].some((folder) => file.startsWith(folder));
        return ours ? { path: file, sideEffects: false } : undefined;
      });
    },
  };
  const result = await esbuild.build({
    ...COMMON,
    entryPoints: [entry],
    outfile: inRoot(`dist/${name}`),
    format: "esm",
    target: "es2022",
    banner: { js: typed(name) },
    plugins: [
      bundled([], VERSION),
      without(
        /src.backend.(webgpu|reference).backend\.ts$/,
        "expected another runtime, found workerd, which has the CPU",
      ),
      pure,
      packages,
      nodeModules,
      shaders,
    ],
  });
  const imports = Object.values(result.metafile!.outputs).flatMap((output) => output.imports);
  return { ...finished(result), imports: imports.map(({ path }) => path) };
}

/**
 * A program of the npm package: packages stay imports, and so do the modules that another file of dist/ exports.
 * `elsewhere` tells which modules those are, and `exports` what the other file has; `replaced` are as in `bundled`.
 */
export async function bundleProgram(
  name: string,
  entry: string,
  { elsewhere = {}, exports = {}, replaced = [] }: {
    elsewhere?: Readonly<Record<string, string>>;
    exports?: Readonly<Record<string, readonly string[]>>;
    replaced?: readonly string[];
  } = {},
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
  const program = finished(
    await esbuild.build({
      ...COMMON,
      entryPoints: [inRoot(entry)],
      outfile: inRoot(`dist/${name}`),
      format: "esm",
      minify: false,
      sourcemap: false,
      target: "es2022",
      banner: { js: NOTICE },
      plugins: [others, bundled(replaced, VERSION), texts],
    }),
  );
  const code = program.outputs[0].contents;
  for (const [, names, from] of code.matchAll(/^import \{([^}]*)\} from "\.\/([^"]*)"/gm)) {
    const missing = names.split(",").map((name) => name.trim().split(" as ")[0])
      .filter((name) => !exports[from].includes(name));
    if (missing.length) throw new Error(`dist/${name} needs ${missing} of ${from}, which does not export it`);
  }
  return program;
}

function finished({ outputFiles, metafile }: esbuild.BuildResult): Bundled {
  return {
    outputs: outputFiles!.map(({ path, text }) => {
      const name = path.slice(inRoot("dist/").length);
      return { name, contents: name.endsWith(".map") ? tidyMap(text) : text };
    }),
    exports: Object.values(metafile!.outputs).flatMap((output) => output.exports),
    packages: [
      ...new Set(
        Object.keys(metafile!.inputs).flatMap((path) =>
          /\/(?:npm\/[^/]+|node_modules)\/((?:@[^/]+\/)?[^/]+)/.exec(`/${path}`)?.[1] ?? []
        ),
      ),
    ].sort(),
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
