import type { GenerateOptions } from "../pipeline/options.ts";
import { HttpError } from "./errors.ts";
import { HostedFiles } from "./files.ts";
import { Models } from "./models.ts";
import { DEFAULTS, type ServerOptions, type Settled } from "./options.ts";
import { type Job, type JobOptions, Queue } from "./queue.ts";

/** What all dialects share: the models, the queue, the pictures to fetch and the limits. */
export class Service {
  readonly queue: Queue;
  readonly files: HostedFiles;
  /** Told of each job that ended. */
  readonly onEnd: Set<(job: Job) => void> = new Set();
  /** May refuse a job before it is queued, by throwing. */
  guard: ((options: JobOptions) => void) | undefined;
  #ready = false;

  static async start(options: ServerOptions = {}): Promise<Service> {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return new Service({ ...DEFAULTS, ...given }, await Models.open(options));
  }

  private constructor(readonly options: Settled, readonly models: Models) {
    this.queue = new Queue({
      maxWaiting: options.maxWaiting,
      maxSeconds: options.maxSeconds,
      onEnd: (job) => this.onEnd.forEach((listener) => listener(job)),
    });
    this.files = new HostedFiles({ maxBytes: options.fileBytes, keepSeconds: options.fileSeconds });
  }

  /** A model is loaded. */
  get ready(): boolean {
    return this.#ready && this.models.info !== undefined;
  }

  /** Loads the first model, so that the first request need not wait for it. */
  async load(): Promise<void> {
    await this.models.use(this.models.current);
    this.#ready = true;
  }

  /** Throws an `HttpError` 400 for more than the server allows: `names` says what the dialect calls the fields. */
  checkLimits(
    options: Omit<GenerateOptions, "signal" | "onStep">,
    names: Partial<Record<keyof GenerateOptions, string>> = {},
  ): void {
    const { maxPixels, maxSteps, maxImages, maxPromptLength } = this.options;
    const check = (option: keyof GenerateOptions, value: number | undefined, most: number, what: string) => {
      if (value === undefined || value <= most) return;
      const param = names[option] ?? option;
      throw new HttpError(400, `Cannot use ${param}: expected at most ${most} ${what}, found ${value}`, {
        code: "limit_exceeded",
        param,
      });
    };
    check("prompt", options.prompt.length, maxPromptLength, "characters");
    check("negativePrompt", options.negativePrompt?.length, maxPromptLength, "characters");
    check("steps", options.steps, maxSteps, "steps");
    check("n", options.n, maxImages, "pictures");
    const { width, height } = options;
    if (width && height) check("width", width * height, maxPixels, "pixels");
    else check("width", Math.max(width ?? 0, height ?? 0), 16384, "pixels");
  }

  submit(options: JobOptions): Job {
    this.guard?.(options);
    return this.queue.submit(options);
  }

  /** Finishes what runs, or cancels it after `graceSeconds`, and frees the model. */
  async close(graceSeconds = 30): Promise<void> {
    this.#ready = false;
    await this.queue.close(graceSeconds);
    await this.models.dispose();
  }
}
