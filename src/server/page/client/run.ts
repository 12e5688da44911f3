import { useRef, useState } from "hono/jsx/dom";
import { cancel as cancelJob, type Drawn, generate, Problem, type Step } from "./api.ts";
import { seconds } from "./format.ts";
import type { Request } from "./settings.ts";

/** What is being drawn now. */
export interface Running {
  /** "Drawing without merging": of the picture in work. */
  label: string;
  /** Pictures done, of how many. */
  done: number;
  of: number;
  /** 0 to 1 over all of them. */
  progress: number;
  /** Jobs before it, while it waits. */
  position: number;
  secondsLeft: number | null;
  step?: Step;
}

export interface Task {
  label: string;
  request: Request;
  mergeMaps?: boolean;
  onStep?: (step: Step) => void;
}

export interface Run {
  running: Running | null;
  problem: Problem | null;
  /** For screen readers: what has begun, how far it is, how it ended. Never every step. */
  news: string;
  /** Draws one after the other, unless something is being drawn. `onDrawn` is told of each; true if all were drawn. */
  start(tasks: Task[], onDrawn: (drawn: Drawn, index: number) => void): Promise<boolean>;
  cancel(): Promise<void>;
  /** A problem of the page's own, shown as the server's are. */
  fail(problem: Problem | null): void;
}

/** One thing at a time, which can be cancelled. */
export function useRun(): Run {
  const [running, setRunning] = useState<Running | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [news, setNews] = useState("");
  const current = useRef<{ controller: AbortController; job?: string } | null>(null);

  const start: Run["start"] = async (tasks, onDrawn) => {
    if (current.current) return false;
    const run: { controller: AbortController; job?: string } = { controller: new AbortController() };
    current.current = run;
    const { signal } = run.controller;
    setProblem(null);
    setNews(tasks.length === 1 ? "Drawing" : `Drawing ${tasks.length} pictures`);
    const began = performance.now();
    let told = 0;
    try {
      for (const [done, { label, request, mergeMaps = false, onStep }] of tasks.entries()) {
        const state: Running = {
          label,
          done,
          of: tasks.length,
          progress: done / tasks.length,
          position: 0,
          secondsLeft: null,
        };
        const show = (change: Partial<Running>) => setRunning(Object.assign(state, change) && { ...state });
        show({});
        const drawn = await generate(request, {
          mergeMaps,
          signal,
          onJob: (id) => run.job = id,
          onQueued: (position, secondsLeft) => {
            show({ position, secondsLeft });
            if (position > 0) setNews(`Waiting: ${position} before it`);
          },
          onStep: (step) => {
            onStep?.(step);
            const progress = (done + step.progress) / tasks.length;
            // Pictures to come take about as long as this one.
            const rest = step.secondsLeft === null || step.progress === 0 ? null : step.secondsLeft +
              (tasks.length - done - 1) * step.secondsLeft / Math.max(1e-9, 1 - step.progress);
            show({
              position: 0,
              step,
              progress,
              secondsLeft: step.progress < 1 ? rest : tasks.length - done === 1 ? 0 : null,
            });
            if (Math.floor(progress * 4) > told) {
              told = Math.floor(progress * 4);
              if (told < 4) setNews(`${told * 25} % done`);
            }
          },
        });
        run.job = undefined;
        onDrawn(drawn, done);
      }
      setNews(`Done in ${seconds((performance.now() - began) / 1000)}`);
      return true;
    } catch (error) {
      const cancelled = signal.aborted || (error instanceof Problem && error.status === 409);
      if (cancelled) setNews("Cancelled");
      else {
        const shown = error instanceof Problem ? error : new Problem(0, (error as Error).message);
        setNews("Not drawn"); // the message is an alert of its own
        setProblem(shown);
      }
      return false;
    } finally {
      current.current = null;
      setRunning(null);
    }
  };

  const cancel = async () => {
    const run = current.current;
    if (!run) return;
    // The stream then ends by itself; without a job, or without a server, it is cut.
    if (run.job) await cancelJob(run.job).catch(() => {});
    run.controller.abort();
  };

  return { running, problem, news, start, cancel, fail: setProblem };
}
