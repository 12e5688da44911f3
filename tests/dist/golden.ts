/** The golden picture, and whether a way to use dist/ drew it. */
import assert from "node:assert/strict";
import { psnr } from "../../src/image/metrics.ts";
import { decodePng } from "../../src/image/png.ts";
import { type GenerateOptions, loadPipeline } from "../../src/mod.ts";
import type { LoadOptions } from "../../src/pipeline/pipeline.ts";
import { readGoldens } from "../models/goldens.ts";

/** What a program or a page that drew says. */
export interface Drawn {
  device: string;
  /** Base64. */
  png: string;
}

const goldens = await readGoldens("tests/goldens/emoji");
const golden = goldens.json.cases.native_4;

export const PICTURE: GenerateOptions = {
  prompt: golden.prompt,
  seed: golden.seed,
  steps: golden.steps,
  width: golden.width,
  height: golden.height,
  guidanceScale: golden.guidance_scale,
};
/** Draws the same bytes on every engine. */
export const STRICT: LoadOptions = { device: "cpu", kernels: "strict", threads: 2 };

/** A module that exports `draw(load, options)`, which gives a `Drawn`. */
export const drawingModule = (specifier: string): string => `
import { loadPipeline } from "${specifier}";
export async function draw(load, options) {
  const pipe = await loadPipeline(undefined, load);
  const { images: [image] } = await pipe.generate(options);
  const { device } = pipe.info;
  await pipe.dispose();
  return { device, png: btoa(String.fromCharCode(...image.png())) };
}
`;

/** A program that prints a `Drawn` as JSON. */
export const drawingProgram = (specifier: string, load = STRICT, options = PICTURE): string =>
  `${drawingModule(specifier)}
draw(${JSON.stringify(load)}, ${JSON.stringify(options)}).then((drawn) => console.log(JSON.stringify(drawn)));
`;

export const answerOf = (stdout: string): Drawn => JSON.parse(stdout.trim().split("\n").at(-1)!);

export const bytesOf = ({ png }: Drawn): Uint8Array => Uint8Array.from(atob(png), (c) => c.charCodeAt(0));

/** A PNG by strict kernels, drawn by the sources in this thread. */
export async function drawHere(options: GenerateOptions): Promise<Uint8Array> {
  const pipe = await loadPipeline(undefined, { ...STRICT, worker: false });
  const { images: [image] } = await pipe.generate(options);
  await pipe.dispose();
  return new Uint8Array(image.png());
}

let expected: Promise<Uint8Array> | undefined;

/** Drawn by strict kernels, to the byte what the sources draw, which is the golden picture. */
export async function assertDrawn(drawn: Drawn, threads: string): Promise<void> {
  assert.equal(drawn.device, `CPU, strict WebAssembly kernels, ${threads}`);
  assert.deepEqual(bytesOf(drawn), await (expected ??= drawHere(PICTURE)));
  assertGolden(bytesOf(drawn));
}

/** Diffusers' pixels, within 2 of 255. */
export function assertGolden(png: Uint8Array): void {
  const found = decodePng(png);
  const bytes = goldens.bytes("native_4.image"); // RGB
  const data = new Uint8ClampedArray(found.data.length).fill(255);
  let worst = 0;
  for (let i = 0; i < data.length; i++) {
    if (i % 4 < 3) data[i] = bytes[(i - i % 4) / 4 * 3 + i % 4];
    worst = Math.max(worst, Math.abs(data[i] - found.data[i]));
  }
  // As in tests/pipeline/diffusers_test.ts.
  const likeness = psnr(found, { ...found, data });
  assert.ok(worst <= 2 && likeness >= 80, `${worst} of 255, ${likeness} dB`);
}
