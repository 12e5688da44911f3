/** On Deno only, which builds; the programs run on every runtime all the same. */
if (!("Bun" in globalThis)) (await import("./ways.ts")).testWays();
