/** The picture worker: what `Pictures` starts. */
import { workerData } from "node:worker_threads";
import { usePackages } from "../../pipeline/bun_packages.ts";
import type { WorkerData } from "./worker_messages.ts";

const { codecs, packages } = workerData as WorkerData;
if (packages) usePackages(packages);
const { servePictures } = await import("./serve_pictures.ts");
servePictures(codecs);
