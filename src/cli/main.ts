#!/usr/bin/env -S deno run -A
/** The `tome-edge` command. */
import { tmpdir } from "node:os";
import process from "node:process";
import { processIo } from "./io.ts";
import { run } from "./run.ts";

// Vulkan, which a look for a GPU loads, complains on stderr where this is not set.
if (process.platform === "linux") process.env.XDG_RUNTIME_DIR ??= tmpdir();

// Not process.exit(), which on some runtimes cuts off what a pipe has not taken yet.
process.exitCode = await run(process.argv.slice(2), processIo());
