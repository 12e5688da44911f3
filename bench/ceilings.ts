/**
 * What merging can gain at most in one UNet step with guidance, by counting multiply-adds on a device that computes
 * nothing. Takes seconds, measures nothing, and gives the same numbers everywhere. Attention, products, convolutions
 * and matching count; element-wise work, which merging hardly changes, does not.
 */
import { openModelFolder } from "../src/checkpoint/folder.ts";
import { EMBEDDED_MODEL, type TokenMergingOptions } from "../src/mod.ts";
import { CallCounter } from "../src/pipeline/count.ts";
import { checkTokenMerging } from "../src/tome/options.ts";
import { fileURLToPath } from "node:url";
import type { Report } from "./measure.ts";
import { SD15 } from "./step.ts";

const OPTIONS: [name: string, options: TokenMergingOptions | null][] = [
  ["0", null],
  ["0.25", { ratio: 0.25 }],
  ["0.5", { ratio: 0.5 }],
  ["0.6", { ratio: 0.6 }],
  ["0.75", { ratio: 0.75 }],
  ["0.5, max-downsample 2", { ratio: 0.5, maxDownsample: 2 }],
  ["0.5, mlp and cross too", { ratio: 0.5, mergeMlp: true, mergeCrossAttn: true }],
  ["0.75, all of these", { ratio: 0.75, maxDownsample: 2, mergeMlp: true, mergeCrossAttn: true }],
];

export async function run(report: Report): Promise<void> {
  const { unet } = await openModelFolder(fileURLToPath(EMBEDDED_MODEL));
  const cases = [
    { model: "emoji", config: unet, factor: 4, contextTokens: 32, sizes: [96, 128, 256, 512] },
    { model: "sd15", config: SD15, factor: 8, contextTokens: 77, sizes: [512, 768, 1024, 2048] },
  ];
  for (const { model, config, factor, contextTokens, sizes } of cases) {
    const counter = new CallCounter(config);
    report.line(`\n${model}: ceiling (multiply-adds of a step, G)\n`);
    report.line(`| ratio | ${sizes.map((s) => `${s}²`).join(" | ")} |\n|---|${"---|".repeat(sizes.length)}`);
    const plain: number[] = [];
    for (const [name, options] of OPTIONS) {
      const cells: string[] = [];
      for (const [i, size] of sizes.entries()) {
        const tokenMerging = options && checkTokenMerging(options) as Required<TokenMergingOptions>;
        const shape = { width: size / factor, height: size / factor, images: 1, branches: 2, contextTokens };
        const { totals } = await counter.count({ ...shape, tokenMerging });
        const multiplyAdds = Object.values(totals).reduce((a, n) => a + n, 0);
        plain[i] ??= multiplyAdds;
        const ceiling = plain[i] / multiplyAdds;
        cells.push(`${ceiling.toFixed(2)} (${show(multiplyAdds / 1e9)})`);
        report.row({ model, size, options: name, multiplyAdds, ceiling });
      }
      report.line(`| ${name} | ${cells.join(" | ")} |`);
    }
  }
}

/** Three digits, without an exponent. */
function show(x: number): string {
  return Number(x.toPrecision(3)).toLocaleString("en");
}
