#!/usr/bin/env -S deno run -A
/** The `tome-edge` command. */
import process from "node:process";
import { processIo } from "./io.ts";
import { run } from "./run.ts";

// Not process.exit(), which on some runtimes cuts off what a pipe has not taken yet.
process.exitCode = await run(process.argv.slice(2), processIo());
