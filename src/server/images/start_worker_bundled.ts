import { builtin } from "../../backend/builtin.ts";
import { codecFiles } from "./codecs.ts";
import type { PictureWorker, WorkerData } from "./worker_messages.ts";

/** Starts the picture worker, which lies beside a bundle: takes the place of `start_worker.ts` there. See tools/build. */
export function startPictureWorker(): PictureWorker | undefined {
  const threads = builtin("node:worker_threads");
  const workerData: WorkerData = { codecs: codecFiles() };
  return threads && new threads.Worker(new URL("./picture_worker.js", import.meta.url), {
    workerData,
    name: "tome-edge pictures",
  });
}
