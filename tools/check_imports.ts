/**
 * Fails on an import cycle, and on an import against the layers of the design:
 * cli, server → mod → pipeline → models, samplers, checkpoint → nn, tome → backend → asm.
 */
import { relative } from "node:path";

const LAYERS: Record<string, number> = {
  cli: 6,
  server: 6,
  "mod.ts": 5,
  pipeline: 4,
  models: 3,
  samplers: 3,
  checkpoint: 3,
  tokenizer: 3,
  image: 3,
  nn: 2,
  tome: 2,
  backend: 1,
  asm: 0,
};

interface Info {
  modules: {
    specifier: string;
    dependencies?: { code?: { specifier: string }; type?: { specifier: string } }[];
  }[];
}

const root = new URL("..", import.meta.url);
const entries = [
  "src/mod.ts",
  "src/cli/main.ts",
  "src/server/mod.ts",
  "src/server/page/client/main.tsx",
  "src/pipeline/worker.ts",
  "src/pipeline/edge.ts",
  "src/pipeline/embedded_model_bundled.ts",
  "src/pipeline/start_worker_bundled.ts",
  "src/server/images/worker.ts",
  "src/server/images/start_worker_bundled.ts",
  "src/backend/wasm/kernel_bytes_bundled.ts",
  "bench/run.ts",
];
const graph = new Map<string, string[]>();
for (const entry of entries) {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
    cwd: root,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const info: Info = JSON.parse(new TextDecoder().decode(stdout));
  for (const module of info.modules) {
    if (!module.specifier.startsWith(root.href)) continue;
    const imports = (module.dependencies ?? []).flatMap((d) => [d.code?.specifier, d.type?.specifier])
      .filter((s): s is string => s?.startsWith(root.href) ?? false);
    graph.set(module.specifier, [...new Set(imports)]);
  }
}

const short = (specifier: string) => relative(root.pathname, new URL(specifier).pathname);
const layer = (specifier: string) => {
  const [top, folder] = short(specifier).split("/");
  return LAYERS[top === "src" ? folder : top];
};

const problems: string[] = [];
for (const [from, imports] of graph) {
  for (const to of imports) {
    const a = layer(from), b = layer(to);
    if (a !== undefined && b !== undefined && a < b) {
      problems.push(`${short(from)} imports ${short(to)}, a layer above it`);
    }
  }
}

const done = new Set<string>();
const visit = (module: string, path: string[]) => {
  const at = path.indexOf(module);
  if (at >= 0) {
    return void problems.push(`import cycle: ${[...path.slice(at), module].map(short).join(" → ")}`);
  }
  if (done.has(module)) return;
  for (const next of graph.get(module) ?? []) visit(next, [...path, module]);
  done.add(module);
};
for (const module of graph.keys()) visit(module, []);

for (const problem of problems) console.error(problem);
console.log(`${graph.size} modules, ${problems.length} problems of import`);
if (problems.length) Deno.exit(1);
