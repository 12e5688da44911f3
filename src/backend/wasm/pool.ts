import {
  FAILED,
  HOST_WAITS,
  PARAM_WORDS,
  PARAMS,
  PENDING,
  SCRATCH,
  SCRATCH_BYTES,
} from "../../../asm/layout.ts";
import type { Op } from "../../../asm/op.ts";
import { DeviceError } from "../../errors.ts";
import { type ScriptWorker, startScript } from "../script_worker.ts";
import type { Instance } from "./module.ts";

/** ms; a machine under load takes its time, one that takes longer has refused. */
const START_LIMIT = 30_000;
/** ms without a finished task until a thread counts as lost. A task takes some milliseconds. */
const STALL_LIMIT = 60_000;
/** ms until a thread that was asked to end is ended. */
const CLOSE_LIMIT = 2_000;

/** All of a compute thread's script: everything else is in the module. */
const script = `globalThis.onmessage = ({ data: { module, memory, scratch, failed, pending, number } }) => {
  const words = new Int32Array(memory.buffer);
  try {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    postMessage({ ready: true });
    exports.threadMain(scratch);
    postMessage({ closed: true });
  } catch (error) {
    Atomics.store(words, failed >> 2, number + 1);
    Atomics.notify(words, pending >> 2);
    postMessage({ error: String(error) });
  }
  close();
};`;

interface Thread {
  readonly worker: ScriptWorker;
  readonly closed: Promise<void>;
}

/**
 * Runs kernels on the calling thread and `threads − 1` workers over one shared memory. Calls return when the
 * work is done; the threads sleep in between.
 */
export class ThreadPool {
  readonly threads: number;
  readonly #instance: Instance;
  readonly #workers: Thread[] = [];
  readonly #canSleep: boolean;
  #words: Int32Array;
  #broken: DeviceError | undefined;

  private constructor(instance: Instance, threads: number) {
    this.#instance = instance;
    this.threads = threads;
    this.#words = new Int32Array(instance.memory.buffer);
    this.#canSleep = instance.shared && canSleep(this.#words);
  }

  static async start(instance: Instance, threads: number): Promise<ThreadPool> {
    const pool = new ThreadPool(instance, threads);
    if (threads === 1) return pool;
    try {
      await Promise.all(Array.from({ length: threads - 1 }, (_, i) => pool.#startThread(i + 1)));
    } catch (error) {
      await pool.dispose();
      throw error;
    }
    return pool;
  }

  #startThread(number: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let ended = () => {};
      const closed = new Promise<void>((done) => ended = done);
      const fail = (found: string) => {
        this.#broken ??= new DeviceError(
          `Cannot run thread ${number}: expected a worker, found ${found}`,
        );
        ended();
        reject(this.#broken);
      };
      const timer = setTimeout(() => fail(`none after ${START_LIMIT / 1000} s`), START_LIMIT);
      let worker: ScriptWorker;
      try {
        worker = startScript(script, `tome-edge ${number}`);
      } catch (error) {
        clearTimeout(timer);
        return fail(String(error));
      }
      this.#workers.push({ worker, closed });
      worker.onerror = (event) => {
        event.preventDefault();
        clearTimeout(timer);
        fail(event.message || "an error that the engine does not tell");
      };
      worker.onmessage = ({ data }) => {
        clearTimeout(timer);
        if (data.ready) {
          worker.unref?.(); // idle threads must not keep a program alive
          resolve();
        } else if (data.closed) ended();
        else fail(data.error);
      };
      const { module, memory } = this.#instance;
      worker.postMessage({
        module,
        memory,
        scratch: SCRATCH + number * SCRATCH_BYTES,
        failed: FAILED,
        pending: PENDING,
        number,
      });
    });
  }

  /** Runs tasks 0..tasks−1 of a kernel. */
  run(op: Op, tasks: number, words: readonly number[]): void {
    if (this.#broken) throw this.#broken;
    if (words.length > PARAM_WORDS) {
      throw new RangeError(
        `Cannot run kernel ${op}: expected at most ${PARAM_WORDS} words, found ${words.length}`,
      );
    }
    // A memory that is not shared leaves its views behind when it grows.
    if (this.#words.length === 0) this.#words = new Int32Array(this.#instance.memory.buffer);
    this.#words.set(words, PARAMS >> 2);
    const { kernels } = this.#instance;
    try {
      if (this.threads === 1 || tasks <= 1) kernels.runAlone(op, tasks, SCRATCH);
      else if (kernels.runShared(op, tasks, SCRATCH) !== 0) this.#wait();
    } catch (cause) {
      this.#broken ??= cause instanceof DeviceError
        ? cause
        : new DeviceError(`Cannot run kernel ${op}: expected a result, found ${cause}`, { cause });
      throw this.#broken;
    }
  }

  #wait(): void {
    const { kernels } = this.#instance;
    const words = this.#words;
    let left = Atomics.load(words, PENDING >> 2);
    let since = performance.now();
    while (left !== 0) {
      const failed = Atomics.load(words, FAILED >> 2);
      if (failed !== 0) {
        throw new DeviceError(`Cannot go on: expected a result of thread ${failed - 1}, found a trap`);
      }
      if (this.#canSleep) {
        Atomics.store(words, HOST_WAITS >> 2, 1);
        Atomics.wait(words, PENDING >> 2, left, 1);
        Atomics.store(words, HOST_WAITS >> 2, 0);
      } else kernels.spin();
      const now = Atomics.load(words, PENDING >> 2);
      if (now !== left) since = performance.now();
      else if (performance.now() - since > STALL_LIMIT) {
        throw new DeviceError(
          `Cannot go on: expected the threads to finish, found no progress in ${STALL_LIMIT / 1000} s`,
        );
      }
      left = now;
    }
  }

  /** Ends the threads; safe to call again. */
  async dispose(): Promise<void> {
    this.#broken ??= new DeviceError("Cannot run a kernel: expected a live backend, found a disposed one");
    if (this.#workers.length === 0) return;
    const workers = this.#workers.splice(0);
    this.#instance.kernels.closeThreads();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSE_LIMIT));
    await Promise.race([Promise.all(workers.map((thread) => thread.closed)), late]);
    clearTimeout(timer);
    for (const { worker } of workers) worker.terminate();
  }
}

/** A page's main thread may not. */
function canSleep(words: Int32Array): boolean {
  try {
    Atomics.wait(words, PENDING >> 2, 1, 0);
    return true;
  } catch {
    return false;
  }
}
