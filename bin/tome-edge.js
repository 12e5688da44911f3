#!/usr/bin/env node
/**
 * Starts the command line: in place on Bun and Deno, else on Deno, which computes on GPUs and serves: the one that is
 * installed, or the one that npm gives. In a clone it is TypeScript, in the package what is built of it.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const sources = new URL("../src/cli/main.ts", import.meta.url);
const main = existsSync(sources) ? sources : new URL("../dist/cli.js", import.meta.url);
if ("Bun" in globalThis) await import(main.href);
else {
  const config = fileURLToPath(new URL("../deno.json", import.meta.url));
  const [program, ...first] = "Deno" in globalThis
    ? [process.execPath]
    : hasDeno()
    ? ["deno"]
    : [...npx(), "-y", "deno@2"];
  // Not the lock file: a package's folder may be read-only.
  const args = [
    ...first,
    "run",
    "-A",
    "--no-lock",
    "--config",
    config,
    fileURLToPath(main),
    ...process.argv.slice(2),
  ];
  const child = spawn(program, args, { stdio: "inherit" });
  process.on("SIGINT", () => {}); // the terminal sends it to the child too, which answers
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("error", (error) => {
    process.stderr.write(`tome-edge: Cannot start ${program}: ${error.message}\n`);
    process.exitCode = 2;
  });
  child.on("exit", (code) => process.exitCode = code ?? 130);
}

function hasDeno() {
  const { status, stdout } = spawnSync("deno", ["--version"], { encoding: "utf8" });
  return status === 0 && /^deno 2\./.test(stdout);
}

/** On Windows npx is a script that only a shell starts; the program behind it needs none. */
function npx() {
  if (process.platform !== "win32") return ["npx"];
  return [process.execPath, join(dirname(process.execPath), "node_modules/npm/bin/npx-cli.js")];
}
