/** The page as a person uses it, in Chromium. On Deno alone: the runtime of the server makes no difference to it. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { parseParameters } from "../../src/image/parameters.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { psnr, ssim } from "../../src/image/metrics.ts";
import { groupsOf, tell } from "../../src/server/page/client/groups.ts";
import type { RunningServer } from "../../src/server/serve.ts";
import { bytesOf, sse } from "../server/app.ts";
import { missing } from "../support/missing.ts";
import { findChromium } from "./chromium.ts";
import {
  draw,
  drop,
  fill,
  idle,
  previewsSeen,
  saved,
  show,
  tabTo,
  violations,
  Visitor,
  watchPreviews,
} from "./page.ts";

const SMALL = { width: 64, height: 64, steps: 3, seed: 3 };
const PROMPT = "a 3d icon of a red apple on a sky blue background";

const path = "Bun" in globalThis ? undefined : await findChromium();
if (path) {
  const visitor = new Visitor(path);
  let server: RunningServer, page: Page, complaints: string[];
  before(async () => {
    server = await visitor.serve();
    ({ page, complaints } = await visitor.visit(server.url));
    await fill(page, { ...SMALL, steps: 6 });
    await page.reload(); // the form is kept, and nothing has the focus
  });
  after(() => visitor.close());

  test("with the keyboard alone: to “Draw”, a picture grows, and its file says how it was made", async () => {
    await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").textContent(), "Skip to the picture");
    await tabTo(page, "#prompt");
    await page.keyboard.press("Control+A");
    await page.keyboard.type(PROMPT);
    await tabTo(page, "#draw");
    await watchPreviews(page);
    await page.keyboard.press("Enter");
    await page.locator("#picture").waitFor();
    await idle(page);
    assert.equal(await page.locator(":focus").getAttribute("id"), "draw", "the focus stays");
    assert.match(await page.locator("#news").textContent() ?? "", /^Done in /);

    const previews = (await previewsSeen(page)).map((url) =>
      decodePng(bytesOf(url.slice(url.indexOf(",") + 1)))
    );
    assert(previews.length >= 2, `${previews.length} previews`);
    for (const [i, preview] of previews.slice(1).entries()) {
      assert.notDeepEqual(preview.data, previews[i].data, "the preview moves");
    }
    const { name, bytes } = await saved(page, () => page.locator(".beside a[download]").click());
    assert.match(name, /^a-3d-icon.*-3-r0\.5\.png$/);
    const { text, ...picture } = decodePng(bytes);
    assert.deepEqual([picture.width, picture.height], [64, 64]);
    const { prompt, seed, steps, tokenMerging } = parseParameters(text.parameters);
    assert.deepEqual([prompt, seed, steps, tokenMerging], [PROMPT, 3, 6, { ratio: 0.5 }]);
    assert.match(await page.locator("#attribution").textContent() ?? "", /Fluent Emoji.*Twemoji/);
    assert(await page.locator("#small").isVisible(), "it says that merging gains little at this size");
  });

  test("cancel stops the job; a job before ours shows as a place in the queue", async () => {
    await fill(page, { steps: 150 });
    await page.locator("#draw").click();
    await page.locator("#preview").waitFor();
    await page.locator("#cancel").click();
    await idle(page);
    assert.equal(await page.locator("#news").textContent(), "Cancelled");
    assert.equal(server.service.queue.jobs.at(-1)!.state, "cancelled");
    assert.equal(server.service.queue.running, undefined);

    const other = new AbortController();
    const body = JSON.stringify({ prompt: "a cat", width: 64, height: 64, steps: 150 });
    const first = fetch(`${server.url}/generate`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: other.signal,
    }).catch(() => {});
    while (!server.service.queue.running) await new Promise((resolve) => setTimeout(resolve, 5));
    await fill(page, { steps: 3 });
    await page.locator("#draw").click();
    await page.locator("#progress-text", { hasText: "one job before it" }).waitFor();
    other.abort();
    await first;
    await idle(page);
    assert.match(await page.locator("#news").textContent() ?? "", /^Done/);
  });

  test("what the server refuses stands next to its field, which has the focus; what has no field, by the button", async () => {
    const own = complaints.length;
    for (
      const [field, value, error, message] of [
        ["steps", "9999", "#steps-error", /^Cannot use steps:/],
        ["width", "70", "#width-error", /^Cannot use width 70: expected a multiple of 4$/],
        ["prompt", " ", "#prompt-error", /^Cannot use prompt: expected what to draw, found nothing$/],
      ] as const
    ) {
      const kept = await page.locator(`#${field}`).inputValue();
      await fill(page, { [field]: value });
      await draw(page);
      assert.match(await page.locator(error).textContent() ?? "", message);
      await page.locator(`#${field}:focus[aria-invalid=true]`).waitFor();
      assert.match(await page.locator(`#${field}`).getAttribute("aria-describedby") ?? "", /-error/);
      await fill(page, { [field]: kept });
    }
    await page.route("**/generate", (route) => route.abort());
    await draw(page);
    assert.match(await page.locator("#problem").textContent() ?? "", /The server does not answer/);
    await page.unroute("**/generate");
    await draw(page);
    assert.equal(await page.locator(".error").count(), 0, "a new start has no old errors");
    // Chromium itself tells of the refusals, and of nothing else.
    for (const line of complaints.splice(own)) assert.match(line, /^Failed to load resource/);
  });

  test("before and after: two pictures of one seed, their figures, the ceiling; each has the bytes of the API's", async () => {
    await show(page, "compare");
    await fill(page, { ...SMALL, ratio: 0 });
    await page.locator("#draw").click();
    await page.locator("#ratio-error", { hasText: "expected a merge ratio above 0" }).waitFor();
    await fill(page, { ratio: 0.5 });
    await draw(page);
    const pictures = [];
    for (const [side, ratio] of [["before", 0], ["after", 0.5]] as const) {
      const { bytes } = await saved(page, () => page.locator(`#${side} a[download]`).click());
      const answer = await ask({ token_merging: { ratio } }, "image/png");
      assert.deepEqual(bytes, new Uint8Array(await answer.arrayBuffer()), side);
      pictures.push(decodePng(bytes));
    }
    const { stats } = await (await ask({ token_merging: { ratio: 0.5 } }, "application/json")).json();
    const figure = async (id: string) => await page.locator(`#${id}`).textContent();
    assert.equal(await figure("ceiling"), `${stats.ceiling.toFixed(2)}×`);
    assert.match(await figure("speedup") ?? "", /^\d+\.\d\d×$/);
    assert.equal(await figure("psnr"), `${psnr(pictures[0], pictures[1]).toFixed(1)} dB`);
    assert.equal(await figure("ssim"), ssim(pictures[0], pictures[1]).toFixed(3));
    assert.match(await page.locator("#before .figures").textContent() ?? "", /all 256$/);
    assert.match(await page.locator("#after .figures").textContent() ?? "", /256 → 128 in 3 of 7 blocks/);
  });

  test("the merge map is what the API tells, in every step and layer; pointing and arrow keys tell of a token", async () => {
    await show(page, "map");
    await fill(page, { ratio: 0.4 });
    await draw(page);
    const request = { token_merging: { ratio: 0.4 }, merge_maps: true };
    const steps = [];
    for await (const { event, data } of sse(await ask(request, "text/event-stream"))) {
      if (event === "step") steps.push(data);
    }
    assert.equal(steps.length, 3);
    for (const step of steps) {
      await fill(page, { "map-step": step.index });
      for (const map of step.merge_maps) {
        await page.locator("#map-layer").selectOption(map.name);
        const { bytes } = await saved(page, () => page.getByText("Save this map").click());
        const { into, ...rest } = JSON.parse(new TextDecoder().decode(bytes));
        const expected = [...new Int32Array(bytesOf(map.into).buffer)];
        assert.deepEqual([rest.step, rest.name, into], [step.index, map.name, expected]);
      }
    }
    const { name, width, height, into: packed } = steps[2].merge_maps.at(-1);
    const map = { ...steps[2].merge_maps.at(-1), into: new Int32Array(bytesOf(packed).buffer) };
    const groups = groupsOf(map);
    // What is on the canvas: a colour for each group, and none where a token stayed by itself.
    const colours = await page.evaluate(([width, height]) => {
      const canvas = document.querySelector<HTMLCanvasElement>("#map")!;
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      const middle = (i: number) => Math.floor((i + 0.5) * canvas.width / width);
      return Array.from({ length: width * height }, (_, token) => {
        const at = (middle(Math.floor(token / width)) * canvas.width + middle(token % width)) * 4;
        return String(data.slice(at, at + 4));
      });
    }, [width, height]);
    for (let token = 0; token < colours.length; token++) {
      const to = map.into[token];
      assert.equal(colours[token], groups.has(to) ? colours[to] : "0,0,0,0", `${name}, token ${token}`);
    }
    const used = new Set([...groups.keys()].map((to) => colours[to]));
    assert.equal(used.size, groups.size, "every group has a colour of its own");

    const told = (token: number) => page.locator("#token", { hasText: tell(token, map, groups) }).waitFor();
    await page.locator("#map-step").focus();
    await page.keyboard.press("Shift+Tab");
    await told(0);
    for (const key of ["ArrowRight", "ArrowRight", "ArrowDown"]) await page.keyboard.press(key);
    await told(width + 2);
    await page.keyboard.press("Enter");
    await told(map.into[width + 2]);
    const merged = map.into.findIndex((to: number, token: number) => to !== token);
    const box = (await page.locator("#tokens").boundingBox())!;
    await page.mouse.move(
      box.x + (merged % width + 0.5) * box.width / width,
      box.y + (Math.floor(merged / width) + 0.5) * box.height / height,
    );
    await told(merged);
  });

  test("the strip: seven ratios, a plot with a point each, a table in words", async () => {
    await show(page, "ratios");
    await fill(page, { steps: 2 });
    await draw(page);
    assert.equal(await page.locator("#strip img").count(), 7);
    assert.deepEqual(await page.locator("#figures tbody th").allTextContents(), [
      "0",
      "0.125",
      "0.25",
      "0.375",
      "0.5",
      "0.625",
      "0.75",
    ]);
    assert.equal(await page.locator("#plot circle").count(), 7);
    assert.match(await page.locator("#plot").getAttribute("aria-label") ?? "", /ratio 0\.75: .* SSIM 0\.\d+/);
    const likeness = (await page.locator("#figures tbody td:nth-child(6)").allTextContents()).map(Number);
    assert.equal(likeness[0], 1);
    assert(likeness.slice(1).every((s) => s < 1 && s > 0), likeness.join());
    const heights = await page.locator("#plot circle").evaluateAll((circles) =>
      circles.map((c) => Number(c.getAttribute("cy")))
    );
    for (const [i, height] of heights.entries()) {
      if (i) assert.equal(Math.sign(height - heights[0]), 1, "less like the first is lower");
    }
  });

  test("accessible in every view, light and dark; nothing is wider than a phone", async () => {
    for (const view of ["ratios", "map", "compare", "picture"] as const) {
      await show(page, view);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        assert.deepEqual(
          await violations(page, colorScheme === "dark" ? ["color-contrast"] : undefined),
          [],
          `${view}, ${colorScheme}`,
        );
      }
      await page.setViewportSize({ width: 390, height: 844 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(wide, 390, `${view} on a phone`);
      await page.setViewportSize({ width: 1280, height: 900 });
    }
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await ground();
    await page.locator("#theme").selectOption("light");
    await page.locator(":root[data-theme=light]").waitFor();
    assert.notEqual(await ground(), dark, "the choice goes before the system's");
    await page.locator("#theme").selectOption("");
  });

  test("the history survives a reload; its settings can be had again, and what is deleted stays so", async () => {
    await page.locator("#history li").first().waitFor();
    const count = await page.locator("#history li").count();
    await fill(page, { prompt: "something else", steps: 7 });
    await page.reload();
    await page.locator("#history li").first().waitFor();
    assert.equal(await page.locator("#history li").count(), count);
    assert.equal(await page.locator("#prompt").inputValue(), "something else", "and so does the form");
    const newest = page.locator("#history li").first();
    assert(
      await newest.locator("img").evaluate((img: HTMLImageElement) =>
        img.decode().then(() => img.naturalWidth === 64)
      ),
    );
    await newest.getByRole("button", { name: "Use these settings" }).click();
    assert.equal(await page.locator("#prompt").inputValue(), PROMPT);
    assert.equal(await page.locator("#ratio").inputValue(), "0.4", "the map’s, which was the last");
    await newest.getByRole("button", { name: "Show:" }).click();
    await page.locator("#picture").waitFor();
    await newest.getByRole("button", { name: "Delete" }).click();
    await page.reload();
    await page.locator("#history li").first().waitFor();
    assert.equal(await page.locator("#history li").count(), count - 1);
  });

  test("a PNG that is dropped fills the form; one that says nothing is told so", async () => {
    const answer = await ask({ seed: 77, steps: 2, negative_prompt: "red", sampler: "euler" }, "image/png");
    await drop(page, "ours.png", new Uint8Array(await answer.arrayBuffer()));
    await page.locator("#file-note", { hasText: "The settings of ours.png are in the form." }).waitFor();
    const values = Object.fromEntries(
      await Promise.all(
        ["seed", "steps", "negative", "sampler", "ratio", "width"].map(async (id) =>
          [id, await page.locator(`#${id}`).inputValue()] as const
        ),
      ),
    );
    assert.deepEqual(values, {
      seed: "77",
      steps: "2",
      negative: "red",
      sampler: "euler",
      ratio: "0",
      width: "64",
    });
    assert.equal(
      await page.getByRole("button", { name: "Keep the seed" }).getAttribute("aria-pressed"),
      "true",
    );

    const data = new Uint8ClampedArray(4 * 4 * 4);
    const theirs = encodePng({ width: 4, height: 4, data }, {
      text: { parameters: "a barn\nSteps: 9, Sampler: UniPC, CFG scale: 6, Seed: 5, Size: 64x96" },
    });
    const file = { mimeType: "image/png", buffer: Buffer.from(theirs) };
    await page.locator("#file").setInputFiles({ ...file, name: "theirs.png" });
    await page.locator("#file-note", { hasText: "no sampler “UniPC” here" }).waitFor();
    assert.equal(await page.locator("#prompt").inputValue(), "a barn");
    assert.equal(await page.locator("#height").inputValue(), "96");

    await drop(page, "bare.png", encodePng({ width: 4, height: 4, data }));
    await page.locator("#file-note.error", { hasText: "Cannot use bare.png" }).waitFor();
    assert.equal(await page.locator("#prompt").inputValue(), "a barn", "the form stays as it was");
  });

  test("nothing broke the content policy, and the console is silent", () => {
    assert.deepEqual(complaints, []);
  });

  test("a key is asked for once: what the page then fetches carries it", async () => {
    const { url } = await visitor.serve({ apiKey: "a key" });
    const { page, complaints } = await visitor.visit(url, { password: "a key" });
    const refused: string[] = [];
    page.on("response", (answer) => {
      if (answer.status() === 401) refused.push(answer.url());
    });
    await fill(page, { ...SMALL, steps: 1 });
    await draw(page);
    await page.locator("#picture").waitFor();
    assert.deepEqual([refused, complaints], [[], []]);
    await page.context().close();
  });

  /** What the page asks for, from here. */
  const ask = async (change: Record<string, unknown>, accept: string): Promise<Response> => {
    const answer = await fetch(`${server.url}/generate`, {
      method: "POST",
      headers: { "content-type": "application/json", accept },
      body: JSON.stringify({ prompt: PROMPT, ...SMALL, ...change }),
    });
    assert.equal(answer.status, 200, answer.ok ? "" : await answer.text());
    return answer;
  };
} else if (!("Bun" in globalThis)) {
  test("the page in a browser", () => missing("the page, for want of Chromium"));
}
