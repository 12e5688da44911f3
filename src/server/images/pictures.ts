/**
 * Everything that takes long with pictures, away from the server's own thread, so that nobody waits for the picture
 * of somebody else.
 *
 * @module
 */
import type { RgbaImage } from "../../image/png.ts";
import { restoreError } from "../../pipeline/messages.ts";
import { HttpError } from "../errors.ts";
import { startPictureWorker } from "./start_worker.ts";
import { buffersOf, WORK, type Work, type WorkName } from "./work.ts";
import type { FromPictureWorker, PictureWorker, ToPictureWorker } from "./worker_messages.ts";

export interface PicturesOptions {
  /** Uploads that may wait. What a job made always may: jobs have a limit of their own. */
  maxUploads?: number;
  /** Seconds for one picture; a worker that takes longer is ended. */
  maxSeconds?: number;
  log?: (line: string) => void;
  /** Undefined where there are no workers. */
  start?: () => PictureWorker | undefined;
}

type Input<Name extends WorkName> = Parameters<Work[Name]>;
type Output<Name extends WorkName> = Awaited<ReturnType<Work[Name]>>;

interface Task extends ToPictureWorker {
  /** Its buffers move to the worker: whoever asked has no more use for them. */
  give: boolean;
  resolve(output: unknown): void;
  reject(error: unknown): void;
}

/** Pictures of the engine have functions, too, which do not cross. */
function bare<T extends RgbaImage>({ width, height, data }: T): Pick<T, keyof RgbaImage> {
  return { width, height, data };
}

/** One worker does one thing at a time, in order. It starts when first needed, and again after it died. */
export class Pictures {
  readonly #options: Required<PicturesOptions>;
  readonly #waiting: Task[] = [];
  #running: Task | undefined;
  #worker: PictureWorker | undefined;
  /** Ends what waits for the worker: with its answer, or with why it died. */
  #settle: ((answer: FromPictureWorker | Error) => void) | undefined;
  /** There are no workers here, or no longer. */
  #inPlace = false;
  #idle: (() => void)[] = [];

  constructor(options: PicturesOptions = {}) {
    this.#options = {
      maxUploads: 32,
      maxSeconds: 60,
      log: () => {},
      start: startPictureWorker,
      ...options,
    };
  }

  /** A file of the picture. */
  encode(...[picture, options]: Input<"encode">): Promise<Output<"encode">> {
    return this.#do("encode", [bare(picture), options]);
  }

  /** As `decodeImage`, of bytes that are not needed any more. Throws an `HttpError` 429 when too many wait. */
  async decode(...input: Input<"decode">): Promise<Output<"decode">> {
    this.#assertRoom();
    return await this.#do("decode", input, { give: true });
  }

  /** As `decodeBase64Image`. Throws an `HttpError` 429 when too many wait. */
  async decodeBase64(...input: Input<"decodeBase64">): Promise<Output<"decodeBase64">> {
    this.#assertRoom();
    return await this.#do("decodeBase64", input);
  }

  /** As `encodePreview`, of a picture that is not needed any more. */
  preview(...[picture, options]: Input<"preview">): Promise<Output<"preview">> {
    return this.#do("preview", [bare(picture), options], { give: true });
  }

  resize(...[picture, options]: Input<"resize">): Promise<Output<"resize">> {
    return this.#do("resize", [bare(picture), options]);
  }

  cover(...[picture, options]: Input<"cover">): Promise<Output<"cover">> {
    return this.#do("cover", [bare(picture), options]);
  }

  editMask(...[picture, options]: Input<"editMask">): Promise<Output<"editMask">> {
    return this.#do("editMask", [bare(picture), options]);
  }

  startInpainting(
    ...[original, mask, options]: Input<"startInpainting">
  ): Promise<Output<"startInpainting">> {
    return this.#do("startInpainting", [bare(original), bare(mask), options]);
  }

  finishInpainting(...[picture, options]: Input<"finishInpainting">): Promise<Output<"finishInpainting">> {
    return this.#do("finishInpainting", [bare(picture), options]);
  }

  /** Starts the worker now, so that the first picture need not wait for it. */
  async load(): Promise<void> {
    await this.resize({ width: 1, height: 1, data: new Uint8ClampedArray(4) }, { width: 1, height: 1 });
  }

  /** Ends the worker when it has done what waits. What is asked for later is done in place: answers under way need it. */
  async close(): Promise<void> {
    while (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.#inPlace = true;
    this.#end();
  }

  #assertRoom(): void {
    if (this.#waiting.length < this.#options.maxUploads) return;
    throw new HttpError(
      429,
      `Cannot read a picture now: ${this.#waiting.length} wait already; try again in 1 s`,
      {
        code: "queue_full",
        headers: { "retry-after": "1" },
      },
    );
  }

  #do<Name extends WorkName>(
    name: Name,
    input: Input<Name>,
    { give = false }: { give?: boolean } = {},
  ): Promise<Output<Name>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ name, input, give, resolve: resolve as Task["resolve"], reject });
      this.#next();
    });
  }

  async #next(): Promise<void> {
    const task = this.#running ? undefined : this.#waiting.shift();
    if (!task) return;
    this.#running = task;
    try {
      task.resolve(await this.#run(task));
    } catch (error) {
      task.reject(error);
    }
    this.#running = undefined;
    if (this.#waiting.length === 0) { for (const resolve of this.#idle.splice(0)) resolve(); }
    this.#next();
  }

  async #run({ name, input, give }: Task): Promise<unknown> {
    if (!this.#worker && !this.#inPlace) await this.#start();
    if (this.#inPlace) return await (WORK[name] as (...input: unknown[]) => unknown)(...input);
    const answer = await this.#untilAnswer(() => {
      this.#worker!.postMessage({ name, input } satisfies ToPictureWorker, give ? buffersOf(input) : []);
    });
    if (answer instanceof Error) {
      throw new HttpError(
        500,
        "The picture worker died; the server's log has the reason under this request's id",
        {
          code: "picture_worker",
          cause: answer,
        },
      );
    }
    if (answer.type === "failed") throw restoreError(answer.error);
    return answer.type === "done" ? answer.output : undefined;
  }

  /** Where it cannot start, everything is done in place from then on. */
  async #start(): Promise<void> {
    const answer = await this.#untilAnswer(() => {
      const worker = this.#options.start();
      if (!worker) return this.#settle!(new Error("there are no worker threads here"));
      this.#worker = worker;
      const dead = (error: Error) => {
        if (this.#worker !== worker) return;
        this.#end();
        this.#settle?.(error);
      };
      worker.on("message", (message: FromPictureWorker) => {
        if (this.#worker === worker) this.#settle?.(message);
      });
      worker.on("messageerror", dead);
      worker.on("error", (error: unknown) => dead(error instanceof Error ? error : new Error(String(error))));
      worker.on("exit", (code: number) => dead(new Error(`it ended with ${code}`)));
    });
    if (!(answer instanceof Error)) return;
    this.#inPlace = true;
    const message =
      `Cannot start the picture worker: ${answer.message}; pictures are made on the server's own thread`;
    this.#options.log(JSON.stringify({ time: new Date().toISOString(), level: "warning", message }));
  }

  /** The program stays up for the worker only while something waits for it. */
  async #untilAnswer(post: () => void): Promise<FromPictureWorker | Error> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise((resolve) => {
        this.#settle = resolve;
        timer = setTimeout(() => {
          this.#end();
          resolve(new Error(`it took more than ${this.#options.maxSeconds} s`));
        }, this.#options.maxSeconds * 1000);
        try {
          this.#worker?.ref();
          post();
        } catch (error) {
          resolve(error as Error);
        }
      });
    } finally {
      clearTimeout(timer);
      this.#settle = undefined;
      this.#worker?.unref();
    }
  }

  #end(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    worker?.terminate();
  }
}
