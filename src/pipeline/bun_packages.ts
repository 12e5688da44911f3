/**
 * Bun finds packages that are not in `node_modules` for the main thread only: it says where they are, and a worker
 * registers them here before it imports anything that needs them.
 */
interface PluginBuilder {
  module(name: string, load: () => Promise<{ loader: "object"; exports: Record<string, unknown> }>): void;
}
declare const Bun: { plugin(options: { name: string; setup(build: PluginBuilder): void }): void };

/** Paths of modules by what they are imported as. */
export function usePackages(packages: Readonly<Record<string, string>>): void {
  Bun.plugin({
    name: "packages of the main thread",
    setup(build) {
      for (const [name, path] of Object.entries(packages)) {
        build.module(name, async () => ({ loader: "object", exports: await import(path) }));
      }
    },
  });
}
