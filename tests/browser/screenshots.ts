/**
 * Pictures of the page, to be looked at: `deno run -A tests/browser/screenshots.ts FOLDER`. `--readme` makes
 * docs/pictures/page.png alone.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findChromium } from "./chromium.ts";
import { draw, fill, idle, show, Visitor } from "./page.ts";

const folder = process.argv[2];
const path = await findChromium();
if (!folder || !path) throw new Error("Cannot take pictures: expected a folder to put them in, and Chromium");
const visitor = new Visitor(path);
const { url } = await visitor.serve();
const { page, complaints } = await visitor.visit(url, { width: 1320, height: 900 });
const shoot = async (name: string) => {
  await page.mouse.move(0, 0);
  await page.waitForTimeout(100);
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
};
const look = (colorScheme: "light" | "dark") => page.emulateMedia({ colorScheme });
const APPLE = "a 3d icon of a red apple on a sky blue background";

await look("light");
await fill(page, { steps: 20, width: 96, height: 96, ratio: 0.5 });
const before = [["flat icon of a cat face", 5], ["a panda face, cartoon, on pink", 7], [
  "a 3d icon of a lemon",
  2,
]];
for (const [prompt, seed] of before) {
  await fill(page, { prompt, seed });
  await draw(page);
}
await fill(page, { prompt: APPLE, seed: 3 });
if (folder === "--readme") {
  await show(page, "map");
  await draw(page);
  await fill(page, { "map-step": 12 });
  await page.locator("#tokens").hover({ position: { x: 500, y: 200 } });
  await page.waitForTimeout(200);
  const file = fileURLToPath(new URL("../../docs/pictures/page.png", import.meta.url));
  await page.screenshot({ path: file, clip: { x: 0, y: 0, width: 1320, height: 830 }, fullPage: true });
  await visitor.close();
  process.exit();
}
await mkdir(folder, { recursive: true });
await page.locator("#draw").click();
await page.locator("#preview").waitFor();
await page.waitForTimeout(300);
await shoot("drawing");
await idle(page);
await shoot("picture");
await show(page, "compare");
await fill(page, { width: 256, height: 256, steps: 5 });
await draw(page);
await shoot("compare");
await fill(page, { width: 96, height: 96, steps: 12 });
await show(page, "map");
await draw(page);
await shoot("map");
await page.locator("input[value=mosaic]").check();
await shoot("mosaic");
await page.locator("input[value=lines]").check();
await page.locator("#tokens").focus();
for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowDown");
for (let i = 0; i < 11; i++) await page.keyboard.press("ArrowRight");
await shoot("lines");
await show(page, "ratios");
await draw(page);
await shoot("ratios");
await look("dark");
await shoot("ratios_dark");
await show(page, "compare");
await shoot("compare_dark");
await show(page, "picture");
await fill(page, { width: 70 });
await draw(page);
await shoot("error_dark");
await page.setViewportSize({ width: 390, height: 844 });
await look("light");
for (const view of ["picture", "compare", "map", "ratios"] as const) {
  await show(page, view);
  await shoot(`phone_${view}`);
}
console.log(complaints.join("\n") || "The console had nothing to complain of.");
await visitor.close();
