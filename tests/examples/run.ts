import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const EXAMPLES = new URL("../../examples/", import.meta.url);

export const DENO: readonly string[] = [process.execPath, "run", "-A"];
/** Deno with the packages of deno.dev.json. */
export const DENO_DEV: readonly string[] = [
  ...DENO,
  "-c",
  fileURLToPath(new URL("../../deno.dev.json", import.meta.url)),
];

/** Bun where it is installed, else the one that npm gives. */
export function bun(): readonly string[] {
  return spawnSync("bun", ["--version"]).status === 0 ? ["bun", "run"] : ["npx", "-y", "bun@1", "run"];
}

export interface Started {
  /** All of stdout so far. */
  readonly out: string;
  /** Resolves with stdout at the end; rejects with stderr if the example failed. */
  readonly ended: Promise<string>;
  stop(): void;
}

/** An example as a process of the runtime that it is for, in the folder `cwd`, where it writes its files. */
export function start(
  [program, ...first]: readonly string[],
  example: string,
  { cwd, args = [], env = {} }: { cwd: string; args?: readonly string[]; env?: Record<string, string> },
): Started {
  const file = fileURLToPath(new URL(example, EXAMPLES));
  const child = spawn(program, [...first, file, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "", err = "", stopped = false;
  child.stdout.on("data", (data) => out += data);
  child.stderr.on("data", (data) => err += data);
  const ended = new Promise<string>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0 || stopped) resolve(out);
      else reject(new Error(`${example} ended with ${code ?? signal}: ${out}${err}`));
    });
  });
  return {
    get out() {
      return out;
    },
    ended,
    stop() {
      stopped = true;
      child.kill("SIGKILL");
    },
  };
}
