import { z } from "@hono/zod-openapi";
import { checkTokenMerging, type TokenMergingOptions } from "../tome/options.ts";
import { HttpError } from "./errors.ts";

/** tomesd's options, as every dialect has them on the wire. */
export const TokenMergingSchema = z.strictObject({
  ratio: z.number().openapi({
    description: "Share of tokens to merge, 0 (off) to 1 − 1/(sx·sy)",
    default: 0.5,
    example: 0.5,
  }),
  sx: z.number().openapi({ description: "Width of the cells that keep one token each", default: 2 }),
  sy: z.number().openapi({ description: "Height of these cells", default: 2 }),
  max_downsample: z.union([z.literal(1), z.literal(2), z.literal(4), z.literal(8)], "expected 1, 2, 4 or 8")
    .openapi({
      description: "Merge in layers down-sampled by at most this",
      default: 1,
    }),
  use_rand: z.boolean().openapi({ description: "Draw each cell's kept token", default: true }),
  merge_attn: z.boolean().openapi({ description: "Merge around self-attention", default: true }),
  merge_crossattn: z.boolean().openapi({ description: "Merge around attention to the text", default: false }),
  merge_mlp: z.boolean().openapi({ description: "Merge around the feed-forward layers", default: false }),
}).partial().openapi("TokenMerging", { description: "Token merging (arXiv 2303.17604), as in tomesd" });

export type TokenMergingWire = z.output<typeof TokenMergingSchema>;

/** The engine's options; null where nothing is to be merged. Throws an `HttpError` 400 for values out of range. */
export function toTokenMerging(
  wire: TokenMergingWire | null | undefined,
): Required<TokenMergingOptions> | null {
  if (!wire || wire.ratio === 0) return null;
  try {
    return checkTokenMerging({
      ratio: wire.ratio,
      sx: wire.sx,
      sy: wire.sy,
      maxDownsample: wire.max_downsample,
      useRand: wire.use_rand,
      mergeAttn: wire.merge_attn,
      mergeCrossAttn: wire.merge_crossattn,
      mergeMlp: wire.merge_mlp,
    });
  } catch (cause) {
    const message = (cause as Error).message.replace("tokenMerging.", "token_merging.");
    throw new HttpError(400, message, { code: "invalid_value", param: "token_merging", cause });
  }
}
