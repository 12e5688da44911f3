import { access, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type BrowserContext, chromium } from "playwright-core";
import { bundle } from "./bundle.ts";
import type { Answer, Task } from "./worker.ts";

/** Longer than any task takes on two slow cores. */
const TASK_MS = 480_000;

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** The path of Chromium (`CHROMIUM` names another), if there is one. */
export async function findChromium(): Promise<string | undefined> {
  for (const path of process.env.CHROMIUM ? [process.env.CHROMIUM] : PLACES) {
    try {
      await access(path);
      return path;
    } catch {
      // The next one.
    }
  }
}

export interface Browser {
  /** Runs one task in a fresh worker of the page. */
  run(task: Task): Promise<Answer>;
  close(): Promise<void>;
}

const PAGE = "<!doctype html><meta charset=utf-8><title>tome-edge</title><link rel=icon href=data:,>";
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** Chromium on a page that is cross-origin isolated. */
export async function openChromium(executablePath: string): Promise<Browser> {
  const script = await bundle(new URL("worker.ts", import.meta.url));
  const server = createServer(({ url }, response) => {
    const [type, body] = url === "/worker.js" ? ["text/javascript", script] : ["text/html", PAGE];
    response.writeHead(200, { ...ISOLATED, "content-type": type }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { context, close } = await startChromium(executablePath);
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  return {
    run: (task) =>
      page.evaluate(([task, limit]) =>
        new Promise<Answer>((resolve) => {
          const worker = new Worker("/worker.js", { type: "module" });
          const end = (answer: Answer) => {
            worker.terminate();
            clearTimeout(timer);
            resolve(answer);
          };
          const timer = setTimeout(() => end({ kind: "error", message: `no answer in ${limit} ms` }), limit);
          worker.onerror = (event) =>
            end({ kind: "error", message: event.message ?? "the worker does not load" });
          worker.onmessage = ({ data }) => end(data);
          worker.postMessage(task);
        }), [task, TASK_MS] as const),
    async close() {
      await close();
      await new Promise((resolve) => server.close(resolve));
      server.closeAllConnections?.();
    },
  };
}

/** Headless Chromium with WebGPU on its own SwiftShader, and a profile of its own. */
export async function startChromium(
  executablePath: string,
): Promise<{ context: BrowserContext; close(): Promise<void> }> {
  const profile = await mkdtemp(join(tmpdir(), "tome-edge-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--enable-unsafe-webgpu",
      // As in tests/support/bun_toggles.ts: SwiftShader compiles five times as fast.
      "--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    context,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
