import axe from "axe-core";
import { readFile } from "node:fs/promises";
import { type Browser, type BrowserContext, chromium, type Download, type Page } from "playwright-core";
import type { ServerOptions } from "../../src/server/options.ts";
import { type RunningServer, serve } from "../../src/server/serve.ts";

export interface VisitOptions {
  width?: number;
  height?: number;
  /** What a person types when the browser asks for a password. */
  password?: string;
}

/** Servers in this process, and a browser that looks at their pages. */
export class Visitor {
  #browser: Promise<Browser> | undefined;
  readonly #servers: RunningServer[] = [];

  constructor(private readonly executablePath: string) {}

  async serve(options: ServerOptions = {}): Promise<RunningServer> {
    const server = await serve({ port: 0, load: { device: "cpu", threads: 2 }, ...options });
    this.#servers.push(server);
    return server;
  }

  /** A tab of a fresh browser profile with the page of a server, and what its console complained of. */
  async visit(url: string, { width = 1280, height = 900, password }: VisitOptions = {}) {
    const browser = await (this.#browser ??= chromium.launch({
      executablePath: this.executablePath,
      headless: true,
      args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
    }));
    const context: BrowserContext = await browser.newContext({
      viewport: { width, height },
      reducedMotion: "reduce",
      httpCredentials: password === undefined ? undefined : { username: "me", password },
    });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    const complaints: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(url);
    await page.locator("#device", { hasText: " on " }).waitFor();
    return { page, complaints };
  }

  async close(): Promise<void> {
    await (await this.#browser)?.close();
    for (const server of this.#servers) await server.close(0);
  }
}

/** Fills the form in. */
export async function fill(page: Page, fields: Record<string, string | number>): Promise<void> {
  for (const [id, value] of Object.entries(fields)) await page.locator(`#${id}`).fill(String(value));
}

/** Draws, and waits until it is over. */
export async function draw(page: Page): Promise<void> {
  await page.locator("#draw").click();
  await idle(page);
}

export async function idle(page: Page): Promise<void> {
  await page.locator("#draw[aria-disabled=false]").waitFor({ timeout: 240_000 });
}

export async function show(page: Page, view: "picture" | "compare" | "map" | "ratios"): Promise<void> {
  await page.locator(`#tab-${view}`).click();
}

/** Presses Tab until an element has the focus. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    if (await page.locator(`${selector}:focus`).count()) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${selector} is not reached with 60 tabs`);
}

/** Remembers every preview that is shown from now on. */
export async function watchPreviews(page: Page): Promise<void> {
  await page.evaluate(() => {
    const seen: string[] = [];
    (globalThis as { previews?: string[] }).previews = seen;
    new MutationObserver(() => {
      const src = document.querySelector<HTMLImageElement>("#preview")?.src;
      if (src && src !== seen.at(-1)) seen.push(src);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });
}

export const previewsSeen = (page: Page) =>
  page.evaluate(() => (globalThis as unknown as { previews: string[] }).previews);

/** The file that an action downloads. */
export async function saved(page: Page, action: () => Promise<void>) {
  const [download]: [Download, void] = await Promise.all([page.waitForEvent("download"), action()]);
  return {
    name: download.suggestedFilename(),
    bytes: new Uint8Array(await readFile(await download.path())),
  };
}

/** A file let go of over the page. */
export async function drop(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  await page.evaluate(([name, bytes]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    const event = { dataTransfer, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent("dragover", event));
    document.body.dispatchEvent(new DragEvent("drop", event));
  }, [name, [...bytes]] as const);
}

/** What axe-core finds: rule, and the elements. */
export async function violations(page: Page, rules?: string[]): Promise<string[]> {
  await page.evaluate(axe.source);
  return await page.evaluate(async (rules) => {
    const { violations, passes } = await (globalThis as unknown as { axe: typeof axe }).axe.run(
      rules ? { runOnly: rules } : {},
    );
    if (passes.length < (rules?.length ?? 20)) return [`only ${passes.length} rules were looked at`];
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html.slice(0, 150)).join(" | ")}`);
  }, rules);
}
