import { CommanderError } from "commander";
import process from "node:process";
import { AbortError } from "../errors.ts";

/** Ends the process: one clear line on stderr and exit code 2; 130 after Ctrl-C, as shells expect. */
export function fail(error: unknown): never {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2); // commander has printed it
  if (error instanceof AbortError) {
    process.stderr.write("Stopped; nothing was written.\n");
    process.exit(130);
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  process.stderr.write(`tome-edge: ${process.env.TOME_DEBUG ? stack : message.split("\n")[0]}\n`);
  process.exit(2);
}
