import type { Step } from "../pipeline/options.ts";
import type { Drawing } from "./drawing.ts";
import { HttpError } from "./errors.ts";

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

/** Why a job was stopped; it tells the error that its caller gets. */
export type CancelReason = "cancelled" | "disconnected" | "timeout" | "shutdown" | "interrupted";

export interface JobOptions {
  /** Who asked: "openai", "a1111", "plain". */
  dialect: string;
  /** Does the work; `job.signal` stops it, `job.report` tells of steps. */
  work: (job: Job) => Promise<Drawing>;
  /** Pictures that it will draw, for the limits and for estimates. */
  images: number;
  /** Goes on when nobody follows it. */
  detached?: boolean;
  /** For whoever shows the job: what was asked for. */
  request?: unknown;
}

export type JobEvent = "queued" | "started" | "step" | "ended";

const MESSAGES: Record<CancelReason, [status: number, message: string]> = {
  cancelled: [409, "The job was cancelled"],
  interrupted: [409, "The job was interrupted"],
  disconnected: [499, "The client went away"],
  timeout: [504, "The job took longer than the server allows"],
  shutdown: [503, "The server is shutting down"],
};

/** What a job asks of the queue that it is in. */
interface JobQueue {
  positionOf(job: Job): number;
  secondsLeft(job: Job): number | undefined;
  over(job: Job): void;
}

/** One request for pictures on its way through the queue. */
export class Job {
  readonly id: string = crypto.randomUUID();
  readonly createdAt: number = Date.now();
  startedAt: number | undefined;
  endedAt: number | undefined;
  state: JobState = "queued";
  /** Steps done of steps known, over all passes. */
  progress = 0;
  /** The last step reported. */
  step: Step | undefined;
  result: Drawing | undefined;
  error: Error | undefined;
  reason: CancelReason | undefined;
  /** Ends with the job; it never rejects: see `result`, `error` and `state`, or await `finished()`. */
  readonly ended: Promise<void>;
  readonly options: Omit<JobOptions, "work">;
  /** Let go of when it begins: it may hold pictures that are far larger than what is drawn. */
  #work: JobOptions["work"] | undefined;
  readonly #controller = new AbortController();
  readonly #listeners = new Set<(event: JobEvent) => void>();
  #followers = 0;
  #finish!: () => void;

  constructor({ work, ...options }: JobOptions, readonly queue: JobQueue) {
    this.options = options;
    this.#work = work;
    this.ended = new Promise((resolve) => this.#finish = resolve);
  }

  /** Aborted when the job is to stop. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isOver(): boolean {
    return this.endedAt !== undefined;
  }

  /** Jobs before this one: 0 while it runs or is next on an idle engine. */
  get position(): number {
    return this.queue.positionOf(this);
  }

  /** Seconds until it ends, by the pace so far; undefined while nothing is known. */
  get secondsLeft(): number | undefined {
    return this.queue.secondsLeft(this);
  }

  /** What the work made. Throws what it failed with. */
  async finished(): Promise<Drawing> {
    await this.ended;
    if (this.error) throw this.error;
    return this.result!;
  }

  /**
   * Somebody waits for it. The returned function says that they no longer do: when the last one says so, a job
   * that is not detached is cancelled. It counts once, however often it is called.
   */
  follow(): () => void {
    this.#followers++;
    let following = true;
    return () => {
      if (!following) return;
      following = false;
      if (--this.#followers === 0 && !this.options.detached) this.cancel("disconnected");
    };
  }

  /** Stops it within one step; what is over stays as it is. */
  cancel(reason: CancelReason = "cancelled"): void {
    if (this.isOver || this.#controller.signal.aborted) return;
    this.reason = reason;
    const [status, message] = MESSAGES[reason];
    this.#controller.abort(new HttpError(status, message, { code: reason }));
    if (this.state === "queued") this.end({ error: this.#controller.signal.reason });
  }

  /** Called by the work: a step is done, and with it this share of the whole job. */
  report(step: Step, progress: number): void {
    this.step = step;
    this.progress = progress;
    this.#emit("step");
  }

  /** Calls back at every event from now on; returns the function that ends it. */
  on(listener: (event: JobEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Bytes of pictures that it holds. */
  get bytes(): number {
    return this.result?.pictures.reduce((sum, { data }) => sum + data.length, 0) ?? 0;
  }

  /** Called by the queue. */
  async run(): Promise<Drawing> {
    this.state = "running";
    this.startedAt = Date.now();
    this.#emit("started");
    const work = this.#work!;
    this.#work = undefined;
    return await work(this);
  }

  /** Called by the queue: its position is another. */
  moved(): void {
    this.#emit("queued");
  }

  /** Called by the queue. */
  end(outcome: { result: Drawing } | { error: Error }): void {
    if (this.isOver) return;
    this.endedAt = Date.now();
    if ("result" in outcome) {
      this.result = outcome.result;
      this.progress = 1;
      this.state = "done";
    } else {
      this.error = outcome.error;
      this.state = this.signal.aborted ? "cancelled" : "failed";
    }
    this.#emit("ended");
    this.#listeners.clear();
    this.#work = undefined;
    // Its number is still shown; what it carries would be kept as long as the job.
    if (this.step) {
      this.step = { ...this.step, preview: () => [], mergeMaps: undefined, result: undefined };
    }
    this.#finish();
    this.queue.over(this);
  }

  #emit(event: JobEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
