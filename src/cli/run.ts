import { Command } from "commander";
import { VERSION } from "../version.ts";
import { failure } from "./fail.ts";
import { ATTRIBUTION, generateCommand } from "./generate.ts";
import type { Io } from "./io.ts";
import { serveCommand } from "./serve.ts";

/** Runs the command that `args` (without program names) ask for; gives its exit code and never throws. */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const program = new Command("tome-edge")
    .description("Stable Diffusion with Token Merging, wherever JavaScript runs.")
    .version(VERSION)
    .addHelpText(
      "after",
      `\ntome-edge generate --help and tome-edge serve --help show all flags, with examples.\n\n${ATTRIBUTION}`,
    )
    .configureOutput({ writeOut: io.out, writeErr: io.err, outputError: () => {} }) // run() prints it
    .exitOverride();
  program.addCommand(generateCommand(io).copyInheritedSettings(program), { isDefault: true });
  program.addCommand(serveCommand(io).copyInheritedSettings(program));
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    const { code, line } = failure(error);
    if (line) io.err(line + "\n");
    return code;
  }
}
