import cliProgress from "cli-progress";
import process from "node:process";
import type { Step } from "../mod.ts";

export interface Reporter {
  step(step: Step): void;
  stop(): void;
}

/** A bar with step time and time left on a terminal, a plain line for every tenth of the run elsewhere; on stderr. */
export function progress({ quiet }: { quiet: boolean }): Reporter {
  if (quiet) return { step() {}, stop() {} };
  return process.stderr.isTTY ? bar() : lines();
}

function bar(): Reporter {
  let current: InstanceType<typeof cliProgress.SingleBar> | undefined;
  return {
    step({ index, total, seconds }) {
      if (!current || index === 1) {
        current?.stop();
        current = new cliProgress.SingleBar({
          stream: process.stderr,
          format: "{bar} {value}/{total}  {step} s a step, {left} s left",
          hideCursor: true,
        }, cliProgress.Presets.shades_classic);
        current.start(total, 0, { step: "", left: "" });
      }
      current.update(index, { step: seconds.toFixed(3), left: ((total - index) * seconds).toFixed(1) });
      if (index === total) current.stop();
    },
    stop: () => current?.stop(),
  };
}

function lines(): Reporter {
  let printed = 0;
  return {
    step({ index, total, seconds }) {
      if (index === 1) printed = 0;
      const tenth = Math.floor(index / total * 10);
      if (tenth === printed && index !== total) return;
      printed = tenth;
      process.stderr.write(
        `step ${index}/${total}, ${seconds.toFixed(3)} s a step, ${
          ((total - index) * seconds).toFixed(1)
        } s left\n`,
      );
    },
    stop() {},
  };
}
