/** How esbuild finds what a bundle inlines. */
import { zlibSync } from "fflate";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "esbuild";

export const ROOT: URL = new URL("../../", import.meta.url);
export const inRoot = (path: string): string => fileURLToPath(new URL(path, ROOT));

/** Packages from wherever the runtime of the build has them: Deno needs no `node_modules`. */
export const packages: Plugin = {
  name: "packages",
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, kind, namespace }) => {
      if (kind === "entry-point" || path.startsWith("node:") || namespace !== "file") return;
      const file = fileURLToPath(import.meta.resolve(path));
      // What the package's own "browser" field says.
      return { path: file.replace(/fflate(.*)esm\/index\.mjs$/, "fflate$1esm/browser.js") };
    });
  },
};

/** Node's modules, asked for when first used: no import of one, which browsers and their bundlers refuse. */
export const nodeModules: Plugin = {
  name: "node modules",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: "node" }));
    build.onLoad({ filter: /.*/, namespace: "node" }, ({ path }) => ({
      contents: `module.exports = globalThis.process?.getBuiltinModule?.(${JSON.stringify(path)}) ?? {};`,
    }));
  },
};

/** Each of `files` replaced by the file beside it whose name ends in `_bundled`, and the version by itself. */
export function bundled(files: readonly string[], version: string): Plugin {
  const replaced = new Map(files.map((path) => [inRoot(path), inRoot(path.replace(/\.ts$/, "_bundled.ts"))]));
  return {
    name: "bundled",
    setup(build) {
      const found = new Set<string>();
      build.onResolve({ filter: /^\..*\.ts$/ }, ({ path, resolveDir }) => {
        const file = resolve(resolveDir, path);
        const by = replaced.get(file);
        if (by === undefined) return;
        found.add(file);
        return { path: by };
      });
      build.onLoad({ filter: /src.version\.ts$/ }, () => ({
        contents: `export const VERSION = ${JSON.stringify(version)};`,
      }));
      build.onEnd(() => {
        const lost = [...replaced.keys()].filter((path) => !found.has(path));
        return { errors: lost.map((path) => ({ text: `Nothing imports ${path}, which is to be replaced` })) };
      });
    },
  };
}

/** Leaves modules out: calls of their functions are refused, and say `why`. */
export function without(modules: RegExp, why: string): Plugin {
  return {
    name: "without",
    setup(build) {
      build.onLoad({ filter: modules }, async ({ path }) => {
        const functions = (await readFile(path, "utf8")).matchAll(/^export (?:async )?function (\w+)/gm);
        return {
          contents: Array.from(
            functions,
            ([, name]) => `export function ${name}() { throw new Error("Cannot call ${name}: ${why}"); }`,
          ).join("\n"),
        };
      });
    },
  };
}

/** Shaders as text, without comments; `// unroll` is an instruction, and indentation tells where its loop ends. */
export const shaders: Plugin = {
  name: "shaders",
  setup(build) {
    build.onLoad({ filter: /\.wgsl$/ }, async ({ path }) => {
      const lines = (await readFile(path, "utf8")).split("\n")
        .map((line) => line.endsWith(" // unroll") ? line : line.replace(/\s*\/\/.*/, ""))
        .map((line) => line.replace(/^(?: {2})+/, (indent) => " ".repeat(indent.length / 2)))
        .filter((line) => line !== "");
      return { contents: lines.join("\n") + "\n", loader: "text" };
    });
  },
};

/** What is imported as text. */
export const texts: Plugin = {
  name: "texts",
  setup(build) {
    build.onLoad({ filter: /.*/ }, async ({ path, with: { type } }) => {
      if (type === "text") return { contents: await readFile(path, "utf8"), loader: "text" };
    });
  },
};

/** What `kernel_bytes_bundled.ts` reads. */
export async function inlinedKernels(): Promise<string> {
  const builds: Record<string, [number, number]> = {};
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const build of ["fast", "fast.single", "strict", "strict.single"]) {
    const bytes = await readFile(inRoot(`asm/pkg/kernels.${build}.wasm`));
    builds[build] = [at, at += bytes.length];
    parts.push(bytes);
  }
  const all = new Uint8Array(at);
  parts.forEach((bytes, i) => all.set(bytes, Object.values(builds)[i][0]));
  // Not the runtime's own zlib, whose output may change with its version.
  return JSON.stringify({ base64: zlibSync(all, { level: 9 }).toBase64(), builds });
}
