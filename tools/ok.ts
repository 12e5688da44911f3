/** The whole gate: `deno task ok`. Every stage runs; the exit code is 1 if one failed. */
const deno = Deno.execPath();
const bun = await works(["bun", "--version"]) ? ["bun"] : ["npx", "-y", "bun@1"];

type Environment = Record<string, string>;
// Dawn, which Bun and Chromium have, refuses Mesa's llvmpipe; wgpu, which Deno has, takes it.
const swiftShader = "/usr/lib/chromium/vk_swiftshader_icd.json";
const software = !Deno.env.has("VK_ICD_FILENAMES") && !await exists("/dev/dri") && await exists(swiftShader);
const runtimeDir = Deno.env.get("XDG_RUNTIME_DIR") || await Deno.makeTempDir(); // Vulkan warns without one.

/** With the packages of tests and builds, which deno.json lacks: `deno task generate` would download them. */
const dev = ["--config", "deno.dev.json"];
/** Those of examples/ that run on Deno or Bun. */
const programs = [...Deno.readDirSync("examples")].map(({ name }) => `examples/${name}`).filter((path) =>
  path.endsWith(".ts")
);
/** Whose code blocks are whole programs, and are run. */
const EXAMPLES = ["src", "docs/token_merging.md", "docs/extending.md"];

type Stage = [name: string, command: string[], env?: Environment];
const stages: Stage[] = [
  ["format", [deno, "fmt", "--check"]],
  ["lint", [deno, "lint", "src", "tests", "bench", "tools", "examples"]],
  // With the code blocks.
  ["types", [
    deno,
    "check",
    ...dev,
    "--doc",
    ...EXAMPLES,
    "tests",
    "bench",
    "tools",
    "README.md",
    "asm/build.ts",
    ...programs,
  ]],
  ["docstrings", [deno, "doc", "--lint", "src/mod.ts", "src/server/mod.ts"]],
  ["imports", [deno, "run", "-A", "tools/check_imports.ts"]],
  ["page is that of src/server/page", [deno, "run", "-A", ...dev, "tools/build_page.ts", "--check"]],
  ["kernels are those of asm/", [deno, "run", "-A", ...dev, "asm/build.ts", "--check"]],
  ["examples of docstrings and pages", [
    deno,
    "test",
    "-A",
    "--no-check",
    "--parallel",
    "--doc",
    ...EXAMPLES,
  ]],
  ["packages for Bun", [...bun, "run", "packages"]],
];
/** At the same time, since half of either is waiting: for browsers, servers, devices that answer slowly. */
const together: Stage[] = [
  ["tests on Deno", [deno, "task", "test"]],
  [
    "tests on Bun",
    [...bun, "test", "--timeout", "600000", "tests/"],
    software ? { VK_ICD_FILENAMES: swiftShader } : {},
  ],
];

const failed: string[] = [];
for (const stage of stages) await run(stage, "inherit");
await Promise.all(together.map((stage, i) => run(stage, i === 0 ? "inherit" : "piped")));
console.log(failed.length ? `\nFailed: ${failed.join(", ")}` : "\nAll is well.");
console.log(`${stages.length + together.length - failed.length} passed, ${failed.length} failed`);
Deno.exit(failed.length ? 1 : 0);

/** Piped output is shown when the stage has ended. */
async function run([name, [command, ...args], env]: Stage, output: "inherit" | "piped"): Promise<void> {
  if (output === "inherit") console.log(`\n== ${name}`);
  const start = performance.now();
  const child = new Deno.Command(command, {
    args,
    env: { XDG_RUNTIME_DIR: runtimeDir, ...env },
    stdin: "null",
    stdout: output,
    stderr: output,
  }).spawn();
  const texts = output === "piped" ? [child.stdout.text(), child.stderr.text()] : [];
  const { success } = await child.status;
  if (output === "piped") console.log([`\n== ${name}`, ...await Promise.all(texts)].join("\n"));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`== ${name}: ${success ? "ok" : "FAILED"} in ${seconds} s`);
  if (!success) failed.push(name);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

async function works([command, ...args]: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false;
  }
}
