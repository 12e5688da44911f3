/**
 * How long the caller's thread is ever kept from its event loop while the engine's worker draws: the longest gap
 * between two turns of the loop, during pictures of the embedded model with previews.
 */
import { loadPipeline } from "../src/mod.ts";
import type { Report } from "./measure.ts";

/** A person notices more. */
const LIMIT = 50;

export async function run(report: Report): Promise<void> {
  const pipe = await loadPipeline();
  report.line("   size  steps  turns of the loop  longest pause   of a step");
  for (const [width, height, steps] of [[96, 96, 25], [256, 256, 6]]) {
    await pipe.generate({ prompt: "warm up", seed: 1, steps: 1, width, height });
    let longest = 0, turns = 0, last = performance.now(), running = true;
    const turn = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      turns++;
      if (running) setTimeout(turn, 0);
    };
    turn();
    const { stats } = await pipe.generate({
      prompt: "a 3d icon of a red apple",
      seed: 1,
      steps,
      width,
      height,
      onStep: (s) => s.preview(),
    });
    running = false;
    const step = 1000 * stats.seconds.denoise / stats.networkCalls;
    report.row({ width, height, steps, turns, longestMs: longest, stepMs: step });
    report.line(
      `${`${width}`.padStart(7)} ${`${steps}`.padStart(6)} ${`${turns}`.padStart(18)} ${
        longest.toFixed(1).padStart(11)
      } ms ${step.toFixed(0).padStart(8)} ms` +
        (longest < LIMIT ? "" : `   above the ${LIMIT} ms that a person notices`),
    );
  }
  await pipe.dispose();
}
