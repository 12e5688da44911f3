#!/usr/bin/env -S deno run -A
/** The `tome-edge` command. */
import { Command } from "commander";
import { VERSION } from "../version.ts";
import { generateCommand } from "./generate.ts";
import { fail } from "./fail.ts";
import process from "node:process";

const program = new Command("tome-edge")
  .description("Stable Diffusion with Token Merging, wherever JavaScript runs.")
  .version(VERSION)
  .showHelpAfterError("Add --help to see what there is.")
  .addCommand(generateCommand(), { isDefault: true })
  .exitOverride();

try {
  await program.parseAsync(process.argv);
} catch (error) {
  fail(error);
}
