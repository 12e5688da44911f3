import { AbortError } from "../errors.ts";
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
  readonly #controller = new AbortController();
  readonly #listeners = new Set<(event: JobEvent) => void>();
  #followers = 0;
  #finish!: () => void;

  constructor(readonly options: JobOptions, readonly queue: Queue) {
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

  /** Called by the queue. */
  begin(): void {
    this.state = "running";
    this.startedAt = Date.now();
    this.#emit("started");
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
    this.#finish();
    this.queue.over(this);
  }

  #emit(event: JobEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

export interface QueueOptions {
  /** Jobs that may wait beside the one that runs. */
  maxWaiting: number;
  /** Seconds that a job may run. */
  maxSeconds: number;
  /** Ended jobs are remembered for this many seconds … */
  keepSeconds?: number;
  /** … but no more than this many. */
  keepJobs?: number;
  /** Told of each job that ended. */
  onEnd?: (job: Job) => void;
}

/** One engine draws one thing at a time; the rest waits its turn, in order. */
export class Queue {
  readonly #options: Required<QueueOptions>;
  readonly #waiting: Job[] = [];
  readonly #jobs = new Map<string, Job>();
  #running: Job | undefined;
  #closed = false;
  #idle: (() => void)[] = [];
  /** Seconds of a picture, smoothed. */
  #pace: number | undefined;

  constructor(options: QueueOptions) {
    this.#options = { keepSeconds: 600, keepJobs: 100, onEnd: () => {}, ...options };
  }

  get running(): Job | undefined {
    return this.#running;
  }

  get waiting(): readonly Job[] {
    return this.#waiting;
  }

  /** The jobs that are known, oldest first. */
  get jobs(): Job[] {
    this.#forget();
    return [...this.#jobs.values()];
  }

  /** The job, if it is known: ended ones are forgotten after a while. */
  get(id: string): Job | undefined {
    this.#forget();
    return this.#jobs.get(id);
  }

  /** Throws an `HttpError` 429 when the queue is full, 503 when the server shuts down. */
  submit(options: JobOptions): Job {
    if (this.#closed) throw new HttpError(503, "The server is shutting down", { code: "shutdown" });
    if (this.#waiting.length >= this.#options.maxWaiting) {
      const seconds = Math.max(1, Math.ceil(this.#running?.secondsLeft ?? this.#pace ?? 10));
      throw new HttpError(
        429,
        `The queue is full: ${this.#waiting.length} jobs wait already; try again in ${seconds} s`,
        { code: "queue_full", headers: { "retry-after": String(seconds) } },
      );
    }
    const job = new Job(options, this);
    this.#jobs.set(job.id, job);
    this.#waiting.push(job);
    this.#forget();
    this.#next();
    return job;
  }

  positionOf(job: Job): number {
    const index = this.#waiting.indexOf(job);
    return index < 0 ? 0 : index + (this.#running ? 1 : 0);
  }

  secondsLeft(job: Job): number | undefined {
    if (job.isOver) return 0;
    if (job.state === "running") {
      const elapsed = (Date.now() - job.startedAt!) / 1000;
      if (job.progress > 0) return elapsed * (1 - job.progress) / job.progress;
      return this.#pace === undefined ? undefined : Math.max(0, this.#pace * job.options.images - elapsed);
    }
    if (this.#pace === undefined) return undefined;
    const before = this.#waiting.slice(0, this.#waiting.indexOf(job) + 1);
    return before.reduce((sum, j) => sum + this.#pace! * j.options.images, this.#running?.secondsLeft ?? 0);
  }

  /** Called by a job that ended. */
  over(job: Job): void {
    const index = this.#waiting.indexOf(job);
    if (index >= 0) this.#waiting.splice(index, 1);
    if (job.state === "done") {
      const seconds = (job.endedAt! - job.startedAt!) / 1000 / job.options.images;
      this.#pace = this.#pace === undefined ? seconds : 0.7 * this.#pace + 0.3 * seconds;
    }
    this.#options.onEnd(job);
    this.#tellIdle();
  }

  /**
   * Takes no more jobs; those that wait are cancelled. Resolves when the one that runs has ended: by itself, or
   * cancelled after `graceSeconds`.
   */
  async close(graceSeconds: number): Promise<void> {
    this.#closed = true;
    for (const job of [...this.#waiting]) job.cancel("shutdown");
    const timer = setTimeout(() => this.#running?.cancel("shutdown"), graceSeconds * 1000);
    await this.idle();
    clearTimeout(timer);
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    if (!this.#running && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #next(): Promise<void> {
    if (this.#running) return;
    const job = this.#waiting.shift();
    if (!job) return;
    this.#running = job;
    for (const waiting of this.#waiting) waiting.moved();
    const timer = setTimeout(() => job.cancel("timeout"), this.#options.maxSeconds * 1000);
    job.begin();
    try {
      job.end({ result: await job.options.work(job) });
    } catch (error) {
      const stopped = job.signal.aborted && (error instanceof AbortError || error === job.signal.reason);
      job.end({
        error: stopped ? job.signal.reason : error instanceof Error ? error : new Error(String(error)),
      });
    } finally {
      clearTimeout(timer);
      this.#running = undefined;
      this.#tellIdle();
      this.#next();
    }
  }

  #tellIdle(): void {
    if (this.#running || this.#waiting.length) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Ended jobs that are too old or too many. */
  #forget(): void {
    const { keepSeconds, keepJobs } = this.#options;
    let ended = 0;
    for (const job of [...this.#jobs.values()].reverse()) {
      if (!job.isOver) continue;
      if (++ended > keepJobs || Date.now() - job.endedAt! > keepSeconds * 1000) this.#jobs.delete(job.id);
    }
  }
}
