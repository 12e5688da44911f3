/**
 * Draws the pictures of docs/token_merging.md from a real run of the embedded model, laid out as SVG and
 * rendered by Chromium: `deno run -A -c deno.dev.json tools/draw_docs.ts`.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { writeFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { type Image, loadPipeline, type MergeMap, type Pipeline } from "tome-edge";
import { splitTokens } from "../src/backend/token_lists.ts";
import { blockKey, drawDestinations } from "../src/tome/destinations.ts";
import { findChromium } from "../tests/browser/chromium.ts";

const PROMPT = "a 3d icon of a red apple on a sky blue background";
const SEED = 3;
const SHOWN = 8; // destinations in the picture of the matching
const SIDE = 432; // of a panel, pixels
const FONT = "font-family='DejaVu Sans, Arial, sans-serif'";

const pipe = await loadPipeline();
const { images: [image] } = await pipe.generate({ prompt: PROMPT, seed: SEED });
// The largest ratio merges every source: that shows the best destination of each. Both are the same match.
const every = await firstMap(pipe, image, 0.75);
const map = await firstMap(pipe, image, 0.5);
await pipe.dispose();
for (const [n, to] of map.into.entries()) assert(to === n || to === every.into[n], "another match");
const { width, height, into, r } = map;
const token = SIDE / width;
const destinations = new Set(destinationsOf(map));
for (const [n, to] of into.entries()) if (to !== n) assert(destinations.has(to), "not a destination");
const means = Array.from(into, (_, n) => patchColour(n));
const merged = mergeColours();

const executablePath = await findChromium();
if (!executablePath) throw new Error("Cannot draw: expected Chromium, found none");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  await save("token_cells", [
    [
      `the picture: ${width} × ${height} tokens of ${image.width / width} × ${image.width / width} pixels`,
      picture() + grid(1, "#fff8", 1),
    ],
    [
      "cells of 2 × 2, one destination in each",
      picture(0.6) + grid(1, "#fff5", 1) + grid(2, "#fff", 2.5) + dots(),
    ],
  ]);
  await save("token_matching", [
    [`${SHOWN} destinations, the tokens most similar to them`, picture(0.35) + groups(every.into)],
    [`what is left with the ${r} most similar pairs`, picture(0.35) + groups(into)],
  ]);
  await save("token_merging", [
    [`merged: ${into.length - r} tokens, a group is its mean`, remaining()],
    [`unmerged: ${into.length} tokens, copies of their group`, mosaic((n) => merged[into[n]])],
  ]);
} finally {
  await browser.close();
}

/** What the first block merges when it is shown the picture, with little noise over it. */
async function firstMap(pipe: Pipeline, image: Image, ratio: number): Promise<MergeMap> {
  const options = { prompt: PROMPT, seed: SEED, steps: 25, image, strength: 0.08 };
  for await (const step of pipe.steps({ ...options, tokenMerging: { ratio }, mergeMaps: true })) {
    return step.mergeMaps![0];
  }
  throw new Error("The run ended without a step");
}

/** A map tells what merged; where the destinations were, their draw tells. */
function destinationsOf({ name, width, height }: MergeMap): Int32Array {
  const cells = { width, height, sx: 2, sy: 2 };
  const randIdx = drawDestinations(cells, { seed: SEED, block: blockKey(name), step: 0 });
  const destinations = new Int32Array(randIdx.length);
  splitTokens(cells, { sources: new Int32Array(width * height - randIdx.length), destinations, randIdx });
  return destinations;
}

type Colour = [red: number, green: number, blue: number];

/** Mean colour of a token's pixels. */
function patchColour(n: number): Colour {
  const size = image.width / width;
  const sum: Colour = [0, 0, 0];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = ((Math.floor(n / width) * size + y) * image.width + (n % width) * size + x) * 4;
      for (let c = 0; c < 3; c++) sum[c] += image.data[at + c] / size ** 2;
    }
  }
  return sum;
}

function mergeColours(): Colour[] {
  return means.map((_, n) => {
    const group = means.filter((_, m) => into[m] === n);
    return [0, 1, 2].map((c) =>
      group.reduce((a, colour) => a + colour[c], 0) / Math.max(1, group.length)
    ) as Colour;
  });
}

function picture(opacity = 1): string {
  const png = Buffer.from(image.png()).toString("base64");
  return `<image width='${SIDE}' height='${SIDE}' opacity='${opacity}' style='image-rendering:pixelated'
    href='data:image/png;base64,${png}'/>`;
}

function grid(every: number, colour: string, thickness: number): string {
  let d = "";
  for (let i = 0; i <= width; i += every) d += `M${i * token} 0V${SIDE}M0 ${i * token}H${SIDE}`;
  return `<path d='${d}' stroke='${colour}' stroke-width='${thickness}' fill='none'/>`;
}

function centre(n: number): [x: number, y: number] {
  return [(n % width + 0.5) * token, (Math.floor(n / width) + 0.5) * token];
}

function dots(): string {
  return [...destinations].map((n) => {
    const [x, y] = centre(n);
    return `<circle cx='${x}' cy='${y}' r='${token / 5}' fill='#ff0' stroke='#000' stroke-width='1'/>`;
  }).join("");
}

function square(n: number, fill: string, more = ""): string {
  return `<rect x='${n % width * token}' y='${
    Math.floor(n / width) * token
  }' width='${token}' height='${token}'
    fill='${fill}' ${more}/>`;
}

function rgb(colour: Colour): string {
  return `rgb(${colour.map(Math.round)})`;
}

function mosaic(colour: (n: number) => Colour): string {
  return [...into.keys()].map((n) => square(n, rgb(colour(n)), `stroke='${rgb(colour(n))}'`)).join("");
}

/** Those destinations that most tokens merge into, each with its tokens. */
function groups(into: Int32Array): string {
  const members = (n: number) => [...every.into.keys()].filter((m) => every.into[m] === n).length;
  const largest = [...destinations].sort((a, b) => members(b) - members(a)).slice(0, SHOWN);
  return largest.map((n, i) => {
    const colour = `hsl(${i * 360 / SHOWN} 95% 62%)`;
    const [x, y] = centre(n);
    const sources = [...into.keys()].filter((m) => m !== n && into[m] === n);
    const lines = sources.map((m) => `M${x} ${y}L${centre(m)}`).join("");
    return `<path d='${lines}' stroke='${colour}' stroke-width='1' opacity='0.5'/>` +
      sources.map((m) => square(m, colour, "opacity='0.85'")).join("") +
      `<circle cx='${x}' cy='${y}' r='${token / 2.6}' fill='${colour}' stroke='#fff' stroke-width='3'/>`;
  }).join("");
}

/** What the layer sees: merged sources are gone. */
function remaining(): string {
  return [...into.keys()].map((n) => {
    if (into[n] !== n) return square(n, "#1b1b22");
    const ring = destinations.has(n) ? "stroke='#fff' stroke-width='2'" : "";
    return square(n, rgb(merged[n]), ring);
  }).join("") + grid(1, "#1b1b22", 2);
}

async function save(name: string, panels: [caption: string, svg: string][]): Promise<void> {
  const gap = 24, band = 34;
  const size = { width: panels.length * (SIDE + gap) - gap, height: SIDE + band };
  const body = panels.map(([caption, svg], i) =>
    `<g transform='translate(${i * (SIDE + gap)} 0)'>
      <text x='${SIDE / 2}' y='22' text-anchor='middle' font-size='16' ${FONT} fill='#222'>${caption}</text>
      <svg y='${band}' width='${SIDE}' height='${SIDE}'><rect width='${SIDE}' height='${SIDE}' fill='#1b1b22'/>${svg}</svg>
    </g>`
  ).join("");
  const page = await browser.newPage({ viewport: size });
  await page.setContent(
    `<body style='margin:0;background:#fff'><svg xmlns='http://www.w3.org/2000/svg'
      width='${size.width}' height='${size.height}' style='display:block'>${body}</svg></body>`,
  );
  const path = `docs/pictures/${name}.png`;
  await writeFile(path, await page.screenshot({ type: "png" }));
  await page.close();
  console.log(path);
}
