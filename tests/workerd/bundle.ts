import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { bundleWorkerd } from "../../tools/build/bundle.ts";

/** A worker, bundled as `dist/workerd.js` is: its text, and the modules that it imports. */
export async function bundleForWorkerd(entry: URL): Promise<{ text: string; imports: string[] }> {
  try {
    const { outputs, imports } = await bundleWorkerd("worker.js", fileURLToPath(entry));
    return { text: outputs.find(({ name }) => name === "worker.js")!.contents, imports };
  } finally {
    await esbuild.stop();
  }
}
