/**
 * Pictures of the page, to be looked at: `deno run -A tests/browser/screenshots.ts FOLDER`. The one that is
 * named "page" is docs/pictures/page.png.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { findChromium } from "./chromium.ts";
import { draw, fill, Visitor } from "./page.ts";

const folder = process.argv[2];
const only = process.argv[3];
const path = await findChromium();
if (!folder || !path) throw new Error("Cannot take pictures: expected a folder to put them in, and Chromium");
await mkdir(folder, { recursive: true });
const visitor = new Visitor(path);
const { url } = await visitor.serve();
const { page, complaints } = await visitor.visit(url);
const shoot = async (name: string, fullPage = true) => {
  await page.mouse.move(0, 0);
  await page.waitForTimeout(100);
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
};
const tab = (name: string) => page.locator(`#tab-${name}`).click();

if (!only || only === "empty") await shoot("empty");
await page.locator("#theme").selectOption("light");
await fill(page, { steps: 12, width: 96, height: 96, seed: 3, ratio: 0.5 });
for (const [prompt, seed] of [["flat icon of a cat face", 5], ["a panda face, cartoon, on pink", 7], ["a 3d icon of a lemon", 2]] as const) {
  await fill(page, { prompt, seed });
  await draw(page);
}
await fill(page, { prompt: "a 3d icon of a red apple on a sky blue background", seed: 3 });
await page.locator("#draw").click();
await page.locator("#preview").waitFor();
await page.waitForTimeout(300);
await shoot("drawing");
await page.locator("#draw:not(:disabled)").waitFor();
await shoot("picture");
await tab("compare");
await fill(page, { width: 256, height: 256, steps: 8 });
await draw(page);
await shoot("compare");
await fill(page, { width: 128, height: 128, steps: 12 });
await tab("map");
await draw(page);
await shoot("map");
await page.locator("input[value=mosaic]").check();
await shoot("mosaic");
await page.locator("input[value=lines]").check();
await page.locator("#tokens").focus();
for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowDown");
for (let i = 0; i < 12; i++) await page.keyboard.press("ArrowRight");
await shoot("lines");
await tab("ratios");
await fill(page, { width: 128, height: 128, steps: 8 });
await draw(page);
await shoot("ratios");
await page.locator("#theme").selectOption("dark");
await shoot("ratios_dark");
await tab("compare");
await shoot("compare_dark");
await tab("picture");
await shoot("picture_dark");
await fill(page, { width: 70 });
await draw(page);
await shoot("error_dark");
await page.setViewportSize({ width: 390, height: 844 });
await shoot("phone_error_dark");
await page.locator("#theme").selectOption("light");
for (const name of ["picture", "compare", "map", "ratios"]) {
  await tab(name);
  await shoot(`phone_${name}`);
}
console.log(complaints.join("\n") || "The console had nothing to complain of.");
await visitor.close();
