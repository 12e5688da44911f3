import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { bundled, inlinedKernels, nodeModules, packages, shaders } from "../../tools/build/plugins.ts";

const assertShim: esbuild.Plugin = {
  name: "assert",
  setup(build) {
    const path = fileURLToPath(new URL("assert_shim.ts", import.meta.url));
    build.onResolve({ filter: /^node:assert\/strict$/ }, () => ({ path }));
  },
};

/** One ES module of `entry` and all it imports, for a page: the kernels are in it, as in dist/. */
export async function bundle(entry: URL): Promise<string> {
  try {
    const { outputFiles } = await esbuild.build({
      entryPoints: [fileURLToPath(entry)],
      bundle: true,
      write: false,
      format: "esm",
      target: "esnext",
      define: { KERNELS: await inlinedKernels() },
      logLevel: "silent",
      plugins: [
        bundled(["src/backend/wasm/kernel_bytes.ts"], "test"),
        assertShim,
        packages,
        nodeModules,
        shaders,
      ],
    });
    return outputFiles[0].text;
  } finally {
    await esbuild.stop();
  }
}
