import type { Backend, NormWeight, Tensor, Weight } from "../backend/backend.ts";
import type { VaeConfig } from "../checkpoint/configs.ts";
import { loadSelfAttention, type SelfAttention, selfAttention } from "../nn/attention.ts";
import { loadResnet, type Resnet } from "../nn/resnet.ts";
import { normConv, strip, type StripOptions, upsampleConv } from "../nn/strips.ts";
import { WeightReader, type WeightSource } from "../nn/weights.ts";

interface MidBlock {
  resnets: [Resnet, Resnet];
  attention?: { group_norm: NormWeight; attention: SelfAttention };
}

interface Level {
  resnets: Resnet[];
  /** The convolution of the down- or upsampler. */
  sampler?: Weight;
}

interface Coder {
  conv_in: Weight;
  mid_block: MidBlock;
  levels: Level[];
  conv_norm_out: NormWeight;
  conv_out: Weight;
}

/** diffusers' `AutoencoderKL`. */
export interface Vae {
  config: VaeConfig;
  encoder: Coder;
  decoder: Coder;
  quant_conv?: Weight;
  post_quant_conv?: Weight;
  /** Pixels per latent: 8 for Stable Diffusion's. */
  factor: number;
}

/** How many elements a strip's intermediate tensors may have: 64 MB in f32. */
const STRIP_ELEMENTS = 1 << 24;

export async function loadVae(b: Backend, source: WeightSource, config: VaeConfig): Promise<Vae> {
  const w = new WeightReader(b, source);
  const { latent_channels: latents, block_out_channels: channels, layers_per_block: layers } = config;
  const top = channels[channels.length - 1];

  const loadMid = async (w: WeightReader): Promise<MidBlock> => ({
    resnets: [
      await loadResnet(w.at("resnets.0"), { cin: top, cout: top }),
      await loadResnet(w.at("resnets.1"), { cin: top, cout: top }),
    ],
    attention: config.mid_block_add_attention
      ? {
        group_norm: await w.norm("attentions.0.group_norm", top),
        attention: await loadSelfAttention(w.at("attentions.0"), { channels: top, heads: 1, bias: true }),
      }
      : undefined,
  });

  const loadLevels = async (
    w: WeightReader,
    widths: readonly number[],
    depth: number,
    sampler: string,
  ): Promise<Level[]> => {
    const levels: Level[] = [];
    let cin = widths[0];
    for (const [i, cout] of widths.entries()) {
      const at = w.at(i);
      const resnets: Resnet[] = [];
      for (let j = 0; j < depth; j++) {
        resnets.push(await loadResnet(at.at("resnets").at(j), { cin, cout }));
        cin = cout;
      }
      levels.push({
        resnets,
        sampler: i < widths.length - 1 ? await at.conv(`${sampler}.0.conv`, cout, cout) : undefined,
      });
    }
    return levels;
  };

  const e = w.at("encoder"), d = w.at("decoder");
  const down = channels, up = [...channels].reverse();
  return {
    config,
    factor: 2 ** (channels.length - 1),
    encoder: {
      conv_in: await e.conv("conv_in", config.in_channels, channels[0]),
      levels: await loadLevels(e.at("down_blocks"), down, layers, "downsamplers"),
      mid_block: await loadMid(e.at("mid_block")),
      conv_norm_out: await e.norm("conv_norm_out", top),
      conv_out: await e.conv("conv_out", top, 2 * latents),
    },
    decoder: {
      conv_in: await d.conv("conv_in", latents, top),
      levels: await loadLevels(d.at("up_blocks"), up, layers + 1, "upsamplers"),
      mid_block: await loadMid(d.at("mid_block")),
      conv_norm_out: await d.norm("conv_norm_out", channels[0]),
      conv_out: await d.conv("conv_out", channels[0], config.out_channels),
    },
    quant_conv: config.use_quant_conv ? await w.pointwise("quant_conv", 2 * latents, 2 * latents) : undefined,
    post_quant_conv: config.use_post_quant_conv
      ? await w.pointwise("post_quant_conv", latents, latents)
      : undefined,
  };
}

/** Latents `[1, h, w, L]`, already divided by `scaling_factor` → picture `[1, H, W, 3]`, about -1..1. */
export function vaeDecode(b: Backend, vae: Vae, z: Tensor, options: { stripElements?: number } = {}): Tensor {
  const w = vae.decoder;
  const strips = stripOptions(vae, options);
  return b.scope(() => {
    const h = b.conv2d(vae.post_quant_conv ? b.linear(z, vae.post_quant_conv) : z, w.conv_in);
    let x = mid(b, w.mid_block, h, strips);
    for (const level of w.levels) {
      for (const resnet of level.resnets) x = replace(b, x, stripResnet(b, resnet, x, strips));
      if (level.sampler) x = replace(b, x, upsampleConv(b, x, { conv: level.sampler, ...strips }));
    }
    return head(b, w, x, strips);
  });
}

/** Picture `[1, H, W, 3]` in -1..1 → mean and log-variance of its latents, `[1, h, w, 2L]`, not scaled. */
export function vaeEncode(
  b: Backend,
  vae: Vae,
  image: Tensor,
  options: { stripElements?: number } = {},
): Tensor {
  const w = vae.encoder;
  const strips = stripOptions(vae, options);
  return b.scope(() => {
    let x = b.conv2d(image, w.conv_in);
    for (const level of w.levels) {
      for (const resnet of level.resnets) x = replace(b, x, stripResnet(b, resnet, x, strips));
      if (level.sampler) x = replace(b, x, b.conv2d(x, level.sampler, { stride: 2, pad: [0, 0, 1, 1] }));
    }
    x = head(b, w, mid(b, w.mid_block, x, strips), strips);
    return vae.quant_conv ? b.linear(x, vae.quant_conv) : x;
  });
}

function stripOptions(
  { config }: Vae,
  { stripElements = STRIP_ELEMENTS }: { stripElements?: number },
): StripOptions {
  return { groups: config.norm_num_groups, eps: 1e-6, stripElements };
}

/** A layer's input goes as soon as its output is there. */
function replace(b: Backend, before: Tensor, after: Tensor): Tensor {
  if (after !== before) b.free(before);
  return after;
}

/** Works in place, on x, where the number of channels stays. */
function stripResnet(b: Backend, w: Resnet, x: Tensor, options: StripOptions): Tensor {
  const [, height, width] = x.shape;
  const { conv_shortcut } = w;
  return b.scope(() => {
    const h = b.empty([1, height, width, w.conv1.cout]);
    const y = conv_shortcut ? b.empty(h.shape) : x;
    normConv(b, x, { ...options, norm: w.norm1, conv: w.conv1, target: h });
    normConv(b, h, {
      ...options,
      norm: w.norm2,
      conv: w.conv2,
      target: y,
      residual: (from, to) =>
        conv_shortcut
          ? b.linear(strip(b, x, from, to), conv_shortcut, { wholeRows: height * width })
          : strip(b, x, from, to),
    });
    return y;
  });
}

/** In place. */
function mid(b: Backend, w: MidBlock, x: Tensor, options: StripOptions): Tensor {
  stripResnet(b, w.resnets[0], x, options);
  if (w.attention) {
    const { group_norm, attention } = w.attention;
    const [, height, width, channels] = x.shape;
    const tokens = b.reshape(x, [1, height * width, channels]); // [1, N, C]
    b.scope(() => {
      const h = b.groupNorm(tokens, group_norm, options);
      b.write(tokens, selfAttention(b, attention, h, { residual: tokens }));
    });
  }
  return stripResnet(b, w.resnets[1], x, options);
}

function head(b: Backend, w: Coder, x: Tensor, options: StripOptions): Tensor {
  const [, height, width] = x.shape;
  const y = b.empty([1, height, width, w.conv_out.cout]);
  normConv(b, x, { ...options, norm: w.conv_norm_out, conv: w.conv_out, target: y });
  return y;
}
