import type { PlainError } from "../../pipeline/messages.ts";
import type { CodecFiles } from "./codecs.ts";
import type { WorkName } from "./work.ts";

/** What the picture worker is started with. */
export interface WorkerData {
  codecs: CodecFiles;
  /** On Bun: see `pipeline/bun_packages.ts`. */
  packages?: Record<string, string>;
}

/** A thread of Node's, as far as needed: its own type would make whoever uses our declarations need Node's. */
export interface PictureWorker {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  // deno-lint-ignore no-explicit-any
  on(event: "message" | "messageerror" | "error" | "exit", listener: (about: any) => void): unknown;
  ref(): void;
  unref(): void;
  terminate(): unknown;
}

export interface ToPictureWorker {
  name: WorkName;
  input: unknown[];
}

/** One answer to each message, in order; before the first, that it is there. */
export type FromPictureWorker = { type: "ready" } | { type: "done"; output: unknown } | {
  type: "failed";
  error: PlainError;
};
