import type { Step } from "../pipeline/options.ts";
import type { Drawing } from "./drawing.ts";
import type { Job } from "./queue.ts";

/**
 * What the job made, for a request that waits for it: a client that goes away no longer follows the job. The
 * signal is let go of before the answer, since Deno, unless told otherwise, aborts it after an answer that succeeded, too.
 */
export async function untilDone(job: Job, signal: AbortSignal): Promise<Drawing> {
  const release = job.follow();
  if (signal.aborted) release();
  signal.addEventListener("abort", release, { once: true });
  try {
    return await job.finished();
  } finally {
    signal.removeEventListener("abort", release);
  }
}

export type JobNews = { type: "position"; position: number } | { type: "step"; step: Step } | {
  type: "alive";
};

/**
 * Everything that happens to a job until it ends, and a sign of life every few seconds, for event streams. It
 * follows the job until the loop is left.
 */
export async function* news(job: Job, aliveSeconds = 5): AsyncGenerator<JobNews, void> {
  const release = job.follow();
  const inbox: JobNews[] = job.step && !job.isOver ? [{ type: "step", step: job.step }] : [];
  let wake = () => {};
  const off = job.on((event) => {
    if (event === "step") inbox.push({ type: "step", step: job.step! });
    wake();
  });
  let position = -1;
  try {
    for (;;) {
      if (job.state === "queued" && job.position !== position) {
        position = job.position;
        yield { type: "position", position };
      }
      const item = inbox.shift();
      if (item) yield item;
      else if (job.isOver) return;
      else {
        let timer: ReturnType<typeof setTimeout> | undefined;
        const alive = await Promise.race([
          new Promise<false>((resolve) => wake = () => resolve(false)),
          new Promise<true>((resolve) => timer = setTimeout(() => resolve(true), aliveSeconds * 1000)),
        ]);
        clearTimeout(timer);
        if (alive) yield { type: "alive" };
      }
    }
  } finally {
    off();
    release();
  }
}
