/** On Deno only, which builds. */
if (!("Bun" in globalThis)) await (await import("./bundled.ts")).testBundle();
