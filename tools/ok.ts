/** The whole gate: `deno task ok`. Every stage runs; the exit code is 1 if one failed. */
const deno = Deno.execPath();
const bun = await works(["bun", "--version"]) ? ["bun"] : ["npx", "-y", "bun@1"];

const stages: [name: string, command: string[]][] = [
  ["format", [deno, "fmt", "--check"]],
  ["lint", [deno, "lint", "src", "tests", "bench", "tools", "examples"]],
  ["types", [deno, "check", "src", "tests", "bench", "tools", "asm/build.ts"]],
  ["imports", [deno, "run", "-A", "tools/check_imports.ts"]],
  ["kernels are those of asm/", [deno, "run", "-A", "asm/build.ts", "--check"]],
  ["tests on Deno", [deno, "task", "test"]],
  ["packages for Bun", [...bun, "install", "--no-save"]],
  ["tests on Bun", [...bun, "test", "--timeout", "600000", "tests/"]],
];

const failed: string[] = [];
for (const [name, [command, ...args]] of stages) {
  console.log(`\n== ${name}`);
  const start = performance.now();
  const { success } = await new Deno.Command(command, {
    args,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn().status;
  console.log(
    `== ${name}: ${success ? "ok" : "FAILED"} in ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
  if (!success) failed.push(name);
}
console.log(failed.length ? `\nFailed: ${failed.join(", ")}` : "\nAll is well.");
console.log(`${stages.length - failed.length} passed, ${failed.length} failed`);
Deno.exit(failed.length ? 1 : 0);

async function works([command, ...args]: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false;
  }
}
