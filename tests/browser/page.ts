import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import type { ServerOptions } from "../../src/server/options.ts";
import { type RunningServer, serve } from "../../src/server/serve.ts";

export type Visit = Awaited<ReturnType<Visitor["visit"]>>;

/** A server in this process and a browser that looks at its page. */
export class Visitor {
  #context: BrowserContext | undefined;
  #profile: string | undefined;
  readonly #servers: RunningServer[] = [];

  constructor(private readonly executablePath: string) {}

  async serve(options: ServerOptions = {}): Promise<RunningServer> {
    const server = await serve({ port: 0, load: { device: "cpu", threads: 2 }, ...options });
    this.#servers.push(server);
    return server;
  }

  /** A tab with the page of a server, and what its console complained of. */
  async visit(url: string, { width = 1280, height = 900 } = {}) {
    const context = await this.#open();
    const page = await context.newPage();
    await page.setViewportSize({ width, height });
    const complaints: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(url);
    await page.locator("#device", { hasText: " on " }).waitFor();
    return { page, complaints };
  }

  async #open(): Promise<BrowserContext> {
    if (this.#context) return this.#context;
    this.#profile = await mkdtemp(join(tmpdir(), "tome-edge-chromium-"));
    this.#context = await chromium.launchPersistentContext(this.#profile, {
      executablePath: this.executablePath,
      headless: true,
      args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
      deviceScaleFactor: 1,
    });
    this.#context.setDefaultTimeout(30_000);
    return this.#context;
  }

  async close(): Promise<void> {
    await this.#context?.close();
    for (const server of this.#servers) await server.close(0);
    if (this.#profile) await rm(this.#profile, { recursive: true, force: true });
  }
}

/** Fills the form in for a small, quick picture. */
export async function fill(page: Page, fields: Record<string, string | number>): Promise<void> {
  for (const [id, value] of Object.entries(fields)) await page.locator(`#${id}`).fill(String(value));
}

/** Draws, and waits until it is over. */
export async function draw(page: Page): Promise<void> {
  await page.locator("#draw").click();
  await page.locator("#draw:not(:disabled)").waitFor({ timeout: 240_000 });
}
