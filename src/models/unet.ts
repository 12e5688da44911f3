import type { Backend, NormWeight, Tensor, Weight } from "../backend/backend.ts";
import type { UnetConfig } from "../checkpoint/configs.ts";
import { loadResnet, type Resnet, resnet } from "../nn/resnet.ts";
import { loadSpatialTransformer, type SpatialTransformer, spatialTransformer } from "../nn/transformer.ts";
import { WeightReader, type WeightSource } from "../nn/weights.ts";
import type { MergeContext } from "../tome/plan.ts";
import { timestepEmbedding } from "./timestep_embedding.ts";

/** A level of the U, in the order of execution. Names are those of the checkpoint. */
interface Block {
  resnets: Resnet[];
  /** One for each resnet, or none. */
  attentions: SpatialTransformer[];
  /** The convolution of the down- or upsampler. */
  sampler?: Weight;
}

/** diffusers' `UNet2DConditionModel`. */
export interface Unet {
  config: UnetConfig;
  conv_in: Weight;
  time_embedding: { linear_1: Weight; linear_2: Weight; cond_proj?: Weight };
  down_blocks: Block[];
  mid_block: Block;
  up_blocks: Block[];
  conv_norm_out: NormWeight;
  conv_out: Weight;
}

export async function loadUnet(b: Backend, source: WeightSource, config: UnetConfig): Promise<Unet> {
  const w = new WeightReader(b, source);
  const channels = config.block_out_channels;
  const levels = channels.length;
  const temb = channels[0] * 4;
  const { layers_per_block: layers, transformer_layers_per_block: depth, num_attention_heads: heads } =
    config;
  const transformer = (w: WeightReader, level: number) =>
    loadSpatialTransformer(w, {
      channels: channels[level],
      contextChannels: config.cross_attention_dim,
      heads: heads[level],
      blocks: depth[level],
      linearProjection: config.use_linear_projection,
    });

  /** One level: a resnet for each number of input channels, each followed by a transformer if the level has them. */
  const loadBlock = async (
    w: WeightReader,
    level: number,
    inputs: number[],
    attention: boolean,
  ): Promise<Block> => {
    const block: Block = { resnets: [], attentions: [] };
    for (const [j, cin] of inputs.entries()) {
      block.resnets.push(await loadResnet(w.at("resnets").at(j), { cin, cout: channels[level], temb }));
      if (attention) block.attentions.push(await transformer(w.at("attentions").at(j), level));
    }
    return block;
  };

  const skips = [channels[0]];
  const down_blocks: Block[] = [];
  let cin = channels[0];
  for (const [i, type] of config.down_block_types.entries()) {
    const at = w.at("down_blocks").at(i);
    const inputs = Array.from({ length: layers[i] }, (_, j) => j === 0 ? cin : channels[i]);
    const block = await loadBlock(at, i, inputs, type === "CrossAttnDownBlock2D");
    skips.push(...inputs.map(() => channels[i]));
    if (i < levels - 1) {
      block.sampler = await at.conv("downsamplers.0.conv", channels[i], channels[i]);
      skips.push(channels[i]);
    }
    down_blocks.push(block);
    cin = channels[i];
  }

  const mid = w.at("mid_block");
  const mid_block: Block = {
    resnets: [
      await loadResnet(mid.at("resnets.0"), { cin, cout: cin, temb }),
      await loadResnet(mid.at("resnets.1"), { cin, cout: cin, temb }),
    ],
    attentions: [await transformer(mid.at("attentions.0"), levels - 1)],
  };

  const up_blocks: Block[] = [];
  for (const [i, type] of config.up_block_types.entries()) {
    const at = w.at("up_blocks").at(i);
    const level = levels - 1 - i;
    const inputs = Array.from(
      { length: layers[level] + 1 },
      (_, j) => (j === 0 ? cin : channels[level]) + skips.pop()!,
    );
    const block = await loadBlock(at, level, inputs, type === "CrossAttnUpBlock2D");
    if (i < levels - 1) block.sampler = await at.conv("upsamplers.0.conv", channels[level], channels[level]);
    up_blocks.push(block);
    cin = channels[level];
  }

  return {
    config,
    conv_in: await w.conv("conv_in", config.in_channels, channels[0]),
    time_embedding: {
      linear_1: await w.linear("time_embedding.linear_1", channels[0], temb),
      linear_2: await w.linear("time_embedding.linear_2", temb, temb),
      cond_proj: config.time_cond_proj_dim === null
        ? undefined
        : await w.linear("time_embedding.cond_proj", config.time_cond_proj_dim, channels[0], false),
    },
    down_blocks,
    mid_block,
    up_blocks,
    conv_norm_out: await w.norm("conv_norm_out", channels[0]),
    conv_out: await w.conv("conv_out", channels[0], config.out_channels),
  };
}

export interface UnetInput {
  timestep: number;
  /** `[time_cond_proj_dim]`, the same for every image: `guidanceEmbedding`. Nothing is added without it. */
  timestepCond?: Float32Array;
  /** The encoded text of each image, `[B, M, Cctx]`. */
  context: Tensor;
  merging?: MergeContext;
}

/** The network's output for noisy latents x `[B, H, W, Cin]` → `[B, H, W, Cout]`, any H and W. */
export function unetForward(
  b: Backend,
  unet: Unet,
  x: Tensor,
  { timestep, timestepCond, context, merging }: UnetInput,
): Tensor {
  const { norm_num_groups: groups, norm_eps: eps } = unet.config;
  const transformerInput = { context, groups, merging };
  return b.scope(() => {
    // 1. time
    const temb = timeEmbedding(b, unet, x.shape[0], { timestep, timestepCond }); // [B, 4·C0]
    const layer = (block: Block, j: number, x: Tensor) => {
      x = resnet(b, block.resnets[j], x, temb, { groups, eps });
      return block.attentions[j] ? spatialTransformer(b, block.attentions[j], x, transformerInput) : x;
    };

    // 2. down
    x = b.conv2d(x, unet.conv_in);
    const skips = [x];
    for (const block of unet.down_blocks) {
      for (let j = 0; j < block.resnets.length; j++) skips.push(x = b.scope(() => layer(block, j, x)));
      if (block.sampler) skips.push(x = b.conv2d(x, block.sampler, { stride: 2 }));
    }

    // 3. middle
    x = b.scope(() => {
      const h = layer(unet.mid_block, 0, x);
      return resnet(b, unet.mid_block.resnets[1], h, temb, { groups, eps });
    });

    // 4. up
    for (const block of unet.up_blocks) {
      for (let j = 0; j < block.resnets.length; j++) {
        const skip = skips.pop()!;
        const wide = b.concat(x, skip);
        b.free(x);
        b.free(skip);
        x = b.scope(() => layer(block, j, wide));
        b.free(wide);
      }
      if (block.sampler) {
        // The size of the next skip, since an odd size was rounded up on the way down.
        const [, height, width] = skips[skips.length - 1].shape;
        const h = x, sampler = block.sampler;
        x = b.scope(() => b.conv2d(b.upsample(h, height, width), sampler));
        b.free(h);
      }
    }

    // 5. out
    return b.conv2d(b.groupNorm(x, unet.conv_norm_out, { groups, eps, silu: true }), unet.conv_out);
  });
}

/** silu(MLP(sin and cos of the time step, plus the projected condition)), the same row for every image. */
function timeEmbedding(
  b: Backend,
  unet: Unet,
  batch: number,
  { timestep, timestepCond }: Pick<UnetInput, "timestep" | "timestepCond">,
): Tensor {
  const { block_out_channels: [channels], flip_sin_to_cos, freq_shift } = unet.config;
  const { linear_1, linear_2, cond_proj } = unet.time_embedding;
  const row = timestepEmbedding(timestep, { channels, flipSinToCos: flip_sin_to_cos, freqShift: freq_shift });
  return b.scope(() => {
    let h = uploadRows(b, row, batch);
    if (cond_proj && timestepCond) {
      h = b.linear(uploadRows(b, timestepCond, batch), cond_proj, { residual: h });
    }
    return b.linear(b.linear(h, linear_1, { activation: "silu" }), linear_2, { activation: "silu" });
  });
}

function uploadRows(b: Backend, row: Float32Array, batch: number): Tensor {
  const rows = new Float32Array(batch * row.length);
  for (let i = 0; i < batch; i++) rows.set(row, i * row.length);
  return b.upload(rows, [batch, row.length]);
}
