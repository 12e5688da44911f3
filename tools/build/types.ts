/** Declarations of dist/, one file each, made by rollup and TypeScript. */
import "typescript"; // the one that is pinned, for the plugin
import { type Plugin, rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import type { Output } from "./bundle.ts";
import { inRoot } from "./plugins.ts";

/** @param elsewhere modules whose declarations another file of dist/ has, as in `bundleProgram` */
export async function declarations(
  name: string,
  entry: string,
  elsewhere: Readonly<Record<string, string>> = {},
): Promise<Output> {
  const files = new Map(Object.entries(elsewhere).map(([path, by]) => [inRoot(path), by]));
  const others: Plugin = {
    name: "elsewhere",
    async resolveId(id, from, options) {
      if (!from) return null;
      if (!id.startsWith(".")) return { id, external: true };
      const found = await this.resolve(id, from, { ...options, skipSelf: true });
      const by = files.get(found?.id ?? "");
      if (by !== undefined) return { id: by, external: true };
      return found;
    },
  };
  const bundle = await rollup({
    input: inRoot(entry),
    plugins: [
      others,
      dts({
        compilerOptions: {
          target: 99, // ESNext
          module: 99, // ESNext
          moduleResolution: 100, // Bundler
          lib: ["lib.esnext.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
          types: [],
          strict: true,
          skipLibCheck: true,
          allowImportingTsExtensions: true,
        },
      }),
    ],
    onwarn: (warning) => {
      throw new Error(`Cannot declare ${name}: ${warning.message}`);
    },
  });
  try {
    const { output: [{ code }] } = await bundle.generate({ format: "es" });
    return { name, contents: code };
  } finally {
    await bundle.close();
  }
}
