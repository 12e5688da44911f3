import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { run } from "../../src/cli/run.ts";

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** The command line in this process, which is much faster than a new one; never a terminal. */
export async function call(...args: string[]): Promise<Outcome> {
  const text = { out: "", err: "" };
  const code = await run(args, {
    out: (t) => text.out += t,
    err: (t) => text.err += t,
    columns: undefined,
  });
  return { code, ...text };
}

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The command line as a process of the runtime that runs the test. */
export function start(args: readonly string[], env: Record<string, string> = {}) {
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check"] : ["run"];
  const child = spawn(process.execPath, [...flags, MAIN, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { out: "", err: "" };
  child.stdout.on("data", (data) => text.out += data);
  child.stderr.on("data", (data) => text.err += data);
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, ...text }));
  });
  return { child, ended };
}

/** A new folder; `old.png` in it must survive whatever goes wrong. */
export async function inFolder(
  body: (path: (name: string) => string, untouched: () => Promise<boolean>) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tome-edge-cli-"));
  const path = (name: string) => join(folder, name);
  try {
    await writeFile(path("old.png"), "old bytes");
    await body(path, async () => await readFile(path("old.png"), "utf8") === "old bytes");
  } finally {
    await rm(folder, { recursive: true });
  }
}
