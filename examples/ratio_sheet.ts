/**
 * One seed over merge ratios, side by side in one PNG, and what each cost in likeness:
 * `deno run -A examples/ratio_sheet.ts "a panda face, cartoon, on pink" 128 sheet.png`; a fourth argument sets the steps.
 */
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { psnr, ssim } from "../src/image/metrics.ts";
import { encodePng } from "../src/image/png.ts";
import { type Image, loadPipeline } from "tome-edge";

const [prompt = "a panda face, cartoon, on pink", size = "96", out = "sheet.png", steps] = process.argv.slice(
  2,
);
const ratios = [0, 0.25, 0.5, 0.6, 0.75];

const pipe = await loadPipeline();
const pictures: Image[] = [];
console.log("ratio  s/step  ceiling  PSNR dB   SSIM");
for (const ratio of ratios) {
  const { images: [image], stats } = await pipe.generate({
    prompt,
    seed: 7,
    steps: steps ? Number(steps) : undefined,
    width: Number(size),
    height: Number(size),
    tokenMerging: ratio === 0 ? null : { ratio },
  });
  pictures.push(image);
  const step = stats.seconds.denoise / stats.networkCalls;
  console.log(
    `${ratio.toFixed(2)}   ${step.toFixed(3)}   ${stats.ceiling.toFixed(2)}x    ${
      psnr(image, pictures[0]).toFixed(1)
    }   ` +
      ssim(image, pictures[0]).toFixed(3),
  );
}
await pipe.dispose();

const { width, height } = pictures[0];
const data = new Uint8ClampedArray(pictures.length * width * height * 4);
for (let y = 0; y < height; y++) {
  for (const [i, picture] of pictures.entries()) {
    data.set(
      picture.data.subarray(y * width * 4, (y + 1) * width * 4),
      (y * pictures.length + i) * width * 4,
    );
  }
}
await writeFile(out, encodePng({ width: pictures.length * width, height, data }));
console.log(out);
