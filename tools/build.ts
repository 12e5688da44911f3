/**
 * Writes dist/: `deno task build`. The modules for a URL (`tome-edge.js`, `tome.js`), the programs of the npm package
 * (`server.js` with its `picture_worker.js`, `cli.js`) and of Cloudflare's runtime (`workerd.js`), their declarations, and the embedded model beside them.
 */
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { bundleAll, bundleProgram, bundleTome, bundleWorkerd, type Output } from "./build/bundle.ts";
import { licences } from "./build/licences.ts";
import { inRoot } from "./build/plugins.ts";
import { declarations } from "./build/types.ts";

/** Bytes, of the module and of its gzip. */
const BUDGETS: Record<string, { raw: number; gzip: number }> = {
  "tome-edge.js": { raw: 400_000, gzip: 150_000 },
  "tome.js": { raw: 200_000, gzip: 60_000 },
};

/** What `workerd.js` imports, which cannot be in it. */
const WORKERD_KERNELS = "kernels.strict.single.wasm";

/** What the programs of the package take from its main module, so that classes of errors are the same. */
const MAIN = Object.fromEntries(
  ["mod", "errors", "version", "pipeline/pipeline"].map((name) => [`src/${name}.ts`, "./tome-edge.js"]),
);

/** All files of dist/ that are made; `write` copies the others. */
export async function build({ types = true }: { types?: boolean } = {}): Promise<Output[]> {
  const main = await bundleAll("tome-edge.js");
  const server = await bundleProgram("server.js", "src/server/mod.ts", {
    elsewhere: MAIN,
    replaced: ["src/server/images/start_worker.ts"],
    exports: { "tome-edge.js": main.exports },
  });
  const pictures = await bundleProgram("picture_worker.js", "src/server/images/worker.ts");
  const cli = await bundleProgram("cli.js", "src/cli/main.ts", {
    elsewhere: { ...MAIN, "src/server/serve.ts": "./server.js" },
    exports: { "tome-edge.js": main.exports, "server.js": server.exports },
  });
  const bundles = [main, await bundleTome("tome.js"), await bundleWorkerd("workerd.js")];
  await esbuild.stop();
  const packages = [...new Set(bundles.flatMap((bundle) => bundle.packages))].sort();
  return [
    ...[...bundles, server, pictures, cli].flatMap((bundle) => bundle.outputs),
    { name: "LICENSES.txt", contents: await licences(packages) },
    ...types
      ? [
        await declarations("tome-edge.d.ts", "src/mod.ts"),
        await declarations("tome.d.ts", "tools/build/entries/tome.ts"),
        await declarations("workerd.d.ts", "src/workerd.ts"),
        await declarations("server.d.ts", "src/server/mod.ts", MAIN),
      ]
      : [],
  ];
}

export function sizes(outputs: readonly Output[]): Record<string, { raw: number; gzip: number }> {
  return Object.fromEntries(
    Object.keys(BUDGETS).map((name) => {
      const text = outputs.find((output) => output.name === name)!.contents;
      return [name, {
        raw: new TextEncoder().encode(text).length,
        gzip: gzipSync(text, { level: 9 }).length,
      }];
    }),
  );
}

/** Throws an error that names the file and its size. */
export function assertSmall(found: ReturnType<typeof sizes>): void {
  for (const [name, { raw, gzip }] of Object.entries(BUDGETS)) {
    if (found[name].raw >= raw || found[name].gzip >= gzip) {
      throw new Error(
        `dist/${name} is too large: expected less than ${raw} bytes and ${gzip} gzipped, found ${
          found[name].raw
        } and ${found[name].gzip}`,
      );
    }
  }
}

export async function write(folder: string, outputs: readonly Output[]): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  for (const { name, contents } of outputs) {
    await mkdir(dirname(`${folder}/${name}`), { recursive: true });
    await writeFile(`${folder}/${name}`, contents);
  }
  await cp(inRoot(`asm/pkg/${WORKERD_KERNELS}`), `${folder}/${WORKERD_KERNELS}`);
  const ours = /^emoji\/(golden|samples|training)(\/|$)/;
  const from = inRoot("models/");
  await cp(`${from}emoji`, `${folder}/models/emoji`, {
    recursive: true,
    filter: (path) => !ours.test(path.slice(from.length)),
  });
}

if (import.meta.main) {
  const outputs = await build();
  const found = sizes(outputs);
  for (const [name, { raw, gzip }] of Object.entries(found)) {
    console.log(`dist/${name}: ${(raw / 1000).toFixed(1)} kB, ${(gzip / 1000).toFixed(1)} kB gzipped`);
  }
  assertSmall(found);
  await write(inRoot("dist"), outputs);
  if (process.argv.includes("--check")) {
    const again = await build();
    const differs = outputs.filter(({ contents }, i) => contents !== again[i].contents);
    if (differs.length) {
      console.error(`Built twice, different: ${differs.map(({ name }) => name).join(", ")}`);
      process.exit(1);
    }
    console.log("Built twice: the same");
  }
}
