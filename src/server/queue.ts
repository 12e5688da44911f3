import { AbortError } from "../errors.ts";
import { HttpError } from "./errors.ts";
import { Job, type JobOptions } from "./job.ts";

export { Job, type JobOptions } from "./job.ts";

export interface QueueOptions {
  /** Jobs that may wait beside the one that runs. */
  maxWaiting: number;
  /** Seconds that a job may run. */
  maxSeconds: number;
  /** Ended jobs are remembered for this many seconds … */
  keepSeconds?: number;
  /** … but no more than this many, … */
  keepJobs?: number;
  /** … with no more bytes of pictures than this, but for the last. */
  keepBytes?: number;
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
    this.#options = {
      keepSeconds: 600,
      keepJobs: 100,
      keepBytes: 64 * 1024 * 1024,
      onEnd: () => {},
      ...options,
    };
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
    if (index >= 0) {
      this.#waiting.splice(index, 1);
      for (const waiting of this.#waiting.slice(index)) waiting.moved();
    }
    if (job.state === "done") {
      const seconds = (job.endedAt! - job.startedAt!) / 1000 / job.options.images;
      this.#pace = this.#pace === undefined ? seconds : 0.7 * this.#pace + 0.3 * seconds;
    }
    this.#options.onEnd(job);
    this.#forget();
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
    try {
      job.end({ result: await job.run() });
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
    const { keepSeconds, keepJobs, keepBytes } = this.#options;
    let ended = 0, bytes = 0;
    for (const job of [...this.#jobs.values()].reverse()) {
      if (!job.isOver) continue;
      bytes += job.bytes;
      const tooMany = ++ended > keepJobs || ended > 1 && bytes > keepBytes;
      if (tooMany || Date.now() - job.endedAt! > keepSeconds * 1000) this.#jobs.delete(job.id);
    }
  }
}
