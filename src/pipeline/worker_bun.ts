/**
 * The engine's worker on Bun, which finds packages that are not in `node_modules` for the main thread only: the
 * main thread says where they are.
 */
import process from "node:process";

interface PluginBuilder {
  module(name: string, load: () => Promise<{ loader: "object"; exports: Record<string, unknown> }>): void;
}
declare const Bun: { plugin(options: { name: string; setup(build: PluginBuilder): void }): void };

const packages: Record<string, string> = JSON.parse(process.env.TOME_EDGE_PACKAGES ?? "{}");
Bun.plugin({
  name: "packages of the main thread",
  setup(build) {
    for (const [name, path] of Object.entries(packages)) {
      build.module(name, async () => ({ loader: "object", exports: await import(path) }));
    }
  },
});
await import("./worker.ts");
