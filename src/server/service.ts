import { type CheckOptions, checkPass } from "./check.ts";
import type { Pass } from "./draw.ts";
import { HostedFiles } from "./files.ts";
import { Pictures } from "./images/pictures.ts";
import { type ModelEntry, Models } from "./models.ts";
import { DEFAULTS, type ServerOptions, type Settled } from "./options.ts";
import { type Job, type JobOptions, Queue } from "./queue.ts";

/**
 * What all dialects share: the models, the queue, the pictures to fetch and the limits.
 *
 * @example
 * ```ts
 * import { createApp, Service } from "tome-edge/server";
 *
 * const service = await Service.start({ load: { device: "cpu" } });
 * await service.load();
 * const body = JSON.stringify({ prompt: "a red apple", width: 64, height: 64, steps: 2 });
 * const headers = { "content-type": "application/json" };
 * const answer = await createApp(service).request("/generate", { method: "POST", headers, body });
 * console.log(answer.status, answer.headers.get("content-type")); // 200 image/png
 * await service.close();
 * ```
 */
export class Service {
  /** @internal Jobs, one at a time. */
  readonly queue: Queue;
  /** @internal Pictures to fetch. */
  readonly files: HostedFiles;
  /** @internal Writes, reads and scales pictures. */
  readonly pictures: Pictures;
  /** @internal Told of each job that ended. */
  readonly onEnd: Set<(job: Job) => void> = new Set();
  /** @internal May refuse a job before it is queued, by throwing. */
  guard: ((options: JobOptions) => void) | undefined;
  /** @internal Every limit, defaults filled in. */
  readonly options: Settled;
  /** @internal What can be drawn with. */
  readonly models: Models;
  #ready = false;

  /** Lists the models and loads none. Throws where a folder is missing. */
  static async start(options: ServerOptions = {}): Promise<Service> {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return new Service({ ...DEFAULTS, ...given }, await Models.open(options));
  }

  private constructor(options: Settled, models: Models) {
    this.options = options;
    this.models = models;
    this.queue = new Queue({
      maxWaiting: options.maxWaiting,
      maxSeconds: options.maxSeconds,
      onEnd: (job) => this.onEnd.forEach((listener) => listener(job)),
    });
    this.pictures = new Pictures({ log: options.log ?? (() => {}) });
    this.files = new HostedFiles({ maxBytes: options.fileBytes, keepSeconds: options.fileSeconds });
  }

  /** A model is loaded. */
  get ready(): boolean {
    return this.#ready && this.models.info !== undefined;
  }

  /** Loads the first model, so that the first request need not wait for it. */
  async load(): Promise<void> {
    await Promise.all([this.models.use(this.models.current), this.pictures.load()]);
    this.#ready = true;
  }

  /** @internal Throws an `HttpError` for what is more than the server allows, or what the model is known not to draw. */
  check(
    pass: Pass,
    { model, ...dialect }: { model: ModelEntry } & Pick<CheckOptions, "names" | "status">,
  ): void {
    checkPass(pass, { info: this.models.infoOf(model), limits: this.options, ...dialect });
  }

  /** @internal Queues a job. */
  submit(options: JobOptions): Job {
    this.guard?.(options);
    return this.queue.submit(options);
  }

  /** Finishes what runs, or cancels it after `graceSeconds`, and frees the model. */
  async close(graceSeconds = 30): Promise<void> {
    this.#ready = false;
    await this.queue.close(graceSeconds);
    await Promise.all([this.models.dispose(), this.pictures.close()]);
  }
}
