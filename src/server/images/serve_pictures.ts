import { parentPort } from "node:worker_threads";
import { plainError } from "../../pipeline/messages.ts";
import { type CodecFiles, useCodecFiles } from "./codecs.ts";
import { buffersOf, WORK } from "./work.ts";
import type { FromPictureWorker, ToPictureWorker } from "./worker_messages.ts";

/** Does what it is told, until it is ended. */
export function servePictures(codecs: CodecFiles): void {
  useCodecFiles(codecs);
  const post = (message: FromPictureWorker, transfer: ArrayBuffer[] = []) =>
    parentPort!.postMessage(message, transfer);
  parentPort!.on("message", async ({ name, input }: ToPictureWorker) => {
    try {
      const output = await (WORK[name] as (...input: unknown[]) => unknown)(...input);
      post({ type: "done", output }, buffersOf(output));
    } catch (error) {
      post({ type: "failed", error: plainError(error) });
    }
  });
  post({ type: "ready" });
}
