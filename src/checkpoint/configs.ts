/**
 * The `config.json` files of a diffusers folder. Names are the files' own; absent fields have the defaults of
 * diffusers 0.42 (`UNet2DConditionModel`, `AutoencoderKL`) and transformers 5 (`CLIPTextConfig`).
 *
 * A field is either used, or checked to have the one value that this engine computes, or in `WITHOUT_EFFECT`.
 * Any other field or value is a `CheckpointError` that names it: nothing that would change a picture is ignored.
 *
 * @module
 */
import * as z from "zod/mini";
import { CheckpointError, quote } from "../errors.ts";

/** Fields that change no picture, whatever their value: training, bookkeeping, precision (all is f32 here). */
export const WITHOUT_EFFECT = {
  unet: [
    "_diffusers_version",
    "_name_or_path",
    "_commit_hash",
    "_use_default_values",
    "addition_embed_type_num_heads", // without addition_embed_type
    "addition_time_embed_dim", // without addition_embed_type
    "decay", // moving averages in training, as are the next six
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
    "dropout",
    "projection_class_embeddings_input_dim", // without class_embed_type
    "upcast_attention",
  ],
  vae: [
    "_diffusers_version",
    "_name_or_path",
    "_commit_hash",
    "_use_default_values",
    "force_upcast",
    "sample_size", // where diffusers begins to tile
  ],
  text: [
    "_name_or_path",
    "_commit_hash",
    "add_cross_attention",
    "attention_dropout",
    "bos_token_id", // the tokenizer has its own
    "chunk_size_feed_forward",
    "dropout",
    "dtype",
    "eos_token_id", // where the pooled output is taken, which Stable Diffusion does not use
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id", // the tokenizer has its own
    "problem_type",
    "projection_dim", // after the pooled output
    "return_dict",
    "tie_word_embeddings",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "use_cache",
  ],
} as const;

export type DownBlockType = "CrossAttnDownBlock2D" | "DownBlock2D";
export type UpBlockType = "CrossAttnUpBlock2D" | "UpBlock2D";

/** Fields by level are lists in the order of `down_block_types`, also where the file has one number. */
export interface UnetConfig {
  /** Height and width of the latents that it was trained on. */
  sample_size: number | [height: number, width: number] | null;
  in_channels: number;
  out_channels: number;
  flip_sin_to_cos: boolean;
  freq_shift: number;
  down_block_types: DownBlockType[];
  /** In the order of execution. */
  up_block_types: UpBlockType[];
  block_out_channels: number[];
  layers_per_block: number[];
  transformer_layers_per_block: number[];
  norm_num_groups: number;
  norm_eps: number;
  cross_attention_dim: number;
  /** The number of heads, by its historical name: the same as `num_attention_heads`. */
  attention_head_dim: number[];
  num_attention_heads: number[];
  use_linear_projection: boolean;
  /** Length of the embedded guidance scale that a distilled network is told, instead of being asked twice. */
  time_cond_proj_dim: number | null;
}

export interface VaeConfig {
  in_channels: number;
  out_channels: number;
  block_out_channels: number[];
  layers_per_block: number;
  latent_channels: number;
  norm_num_groups: number;
  scaling_factor: number;
  /** Latents for the UNet are (z − shift_factor) · scaling_factor. */
  shift_factor: number;
  use_quant_conv: boolean;
  use_post_quant_conv: boolean;
  mid_block_add_attention: boolean;
}

export interface TextConfig {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  max_position_embeddings: number;
  hidden_act: "quick_gelu" | "gelu";
  layer_norm_eps: number;
}

/** What a `model_index.json` tells beyond that the folder is one of ours. */
export interface ModelIndex {
  _class_name: string;
  /** Class of the scheduler whose config the folder has. */
  scheduler: string;
}

/** The one value (or few of one meaning) that is computed here; absence means the first. */
function only<const T extends z.core.util.Literal>(...values: T[]) {
  const error = values.map((value) => JSON.stringify(value)).join(" or ");
  return z._default(z.literal(values, { error }), values[0] as z.core.util.NoUndefined<T>);
}

/** Larger than any real one, so that products of dimensions stay exact. */
const LARGEST = 1 << 24;
const COUNT = { error: `a whole number from 1 to ${LARGEST}` };
const count = z.int(COUNT).check(z.minimum(1, COUNT), z.maximum(LARGEST, COUNT));
const COUNTS = { error: "a whole number from 1, or a list of them by level" };
const counts = z.union([count, z.array(count)], COUNTS);
const LEVELS = { error: "a list of 1 to 8 whole numbers from 1" };
const levels = z.array(count, LEVELS).check(z.minLength(1, LEVELS), z.maxLength(8, LEVELS));
const SMALL = { error: "a number above 0 and below 1" };
const small = z.number(SMALL).check(z.gt(0, SMALL), z.lt(1, SMALL));
const POSITIVE = { error: "a number above 0" };
const positive = z.number(POSITIVE).check(z.gt(0, POSITIVE));
const number = z.number({ error: "a number" });
const flag = z.boolean({ error: "true or false" });

function listOf<const T extends string>(...values: T[]) {
  const error = values.map((value) => JSON.stringify(value)).join(" or ");
  return z.array(z.enum(values, { error }), { error: `a list of ${error}` });
}

function ignored<const T extends string>(names: readonly T[]) {
  const fields = names.map((name) => [name, z.optional(z.unknown())]);
  return Object.fromEntries(fields) as Record<T, z.ZodMiniOptional<z.ZodMiniUnknown>>;
}

const UnetSchema = z.strictObject({
  ...ignored(WITHOUT_EFFECT.unet),
  _class_name: only("UNet2DConditionModel"),
  sample_size: z._default(
    z.nullable(z.union([count, z.tuple([count, count])], { error: "a whole number, two, or null" })),
    null,
  ),
  in_channels: z._default(count, 4),
  out_channels: z._default(count, 4),
  center_input_sample: only(false),
  flip_sin_to_cos: z._default(flag, true),
  freq_shift: z._default(number, 0),
  down_block_types: z._default(listOf("CrossAttnDownBlock2D", "DownBlock2D"), [
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "DownBlock2D",
  ]),
  mid_block_type: only("UNetMidBlock2DCrossAttn"),
  up_block_types: z._default(listOf("CrossAttnUpBlock2D", "UpBlock2D"), [
    "UpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
  ]),
  only_cross_attention: only(false),
  mid_block_only_cross_attention: only(null, false),
  block_out_channels: z._default(levels, [320, 640, 1280, 1280]),
  layers_per_block: z._default(counts, 2),
  downsample_padding: only(1),
  mid_block_scale_factor: only(1),
  act_fn: only("silu", "swish"),
  norm_num_groups: z._default(count, 32),
  norm_eps: z._default(small, 1e-5),
  cross_attention_dim: z._default(count, 1280),
  transformer_layers_per_block: z._default(counts, 1),
  reverse_transformer_layers_per_block: only(null),
  encoder_hid_dim: only(null),
  encoder_hid_dim_type: only(null),
  attention_head_dim: z._default(counts, 8),
  num_attention_heads: z._default(z.nullable(counts), null),
  dual_cross_attention: only(false),
  use_linear_projection: z._default(flag, false),
  class_embed_type: only(null),
  class_embeddings_concat: only(false),
  num_class_embeds: only(null),
  addition_embed_type: only(null),
  resnet_time_scale_shift: only("default"),
  resnet_skip_time_act: only(false),
  resnet_out_scale_factor: only(1),
  time_embedding_type: only("positional"),
  time_embedding_dim: z._default(z.nullable(count), null),
  time_embedding_act_fn: only(null),
  timestep_post_act: only(null),
  time_cond_proj_dim: z._default(z.nullable(count), null),
  conv_in_kernel: only(3),
  conv_out_kernel: only(3),
  attention_type: only("default"),
  cross_attention_norm: only(null),
});

const VaeSchema = z.strictObject({
  ...ignored(WITHOUT_EFFECT.vae),
  _class_name: only("AutoencoderKL"),
  in_channels: only(3),
  out_channels: only(3),
  down_block_types: z._default(listOf("DownEncoderBlock2D"), ["DownEncoderBlock2D"]),
  up_block_types: z._default(listOf("UpDecoderBlock2D"), ["UpDecoderBlock2D"]),
  block_out_channels: z._default(levels, [64]),
  layers_per_block: z._default(count, 1),
  act_fn: only("silu", "swish"),
  latent_channels: z._default(count, 4),
  norm_num_groups: z._default(count, 32),
  scaling_factor: z._default(positive, 0.18215),
  shift_factor: z._default(z.nullable(number), null),
  latents_mean: only(null),
  latents_std: only(null),
  use_quant_conv: z._default(flag, true),
  use_post_quant_conv: z._default(flag, true),
  mid_block_add_attention: z._default(flag, true),
});

const TextSchema = z.strictObject({
  ...ignored(WITHOUT_EFFECT.text),
  architectures: z.optional(z.nullable(listOf("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPModel"))),
  model_type: only("clip_text_model"),
  vocab_size: z._default(count, 49408),
  hidden_size: z._default(count, 512),
  intermediate_size: z._default(count, 2048),
  num_hidden_layers: z._default(count, 12),
  num_attention_heads: z._default(count, 8),
  max_position_embeddings: z._default(count, 77),
  hidden_act: z._default(z.enum(["quick_gelu", "gelu"], { error: '"quick_gelu" or "gelu"' }), "quick_gelu"),
  layer_norm_eps: z._default(small, 1e-5),
});

/** `[library, class]`, or nulls for a part that is left out. */
function part<const T extends string>(...classes: T[]) {
  const names = classes.map((name) => JSON.stringify(name)).join(" or ");
  return z.tuple([z.string(), z.enum(classes, { error: names })], { error: `[library, ${names}]` });
}

const ModelIndexSchema = z.strictObject({
  ...ignored(["_diffusers_version", "_name_or_path", "_commit_hash"]),
  // Parts beside the picture: a filter that judges it, encoders of pictures for adapters that are not loaded.
  ...ignored(["safety_checker", "feature_extractor", "requires_safety_checker", "image_encoder"]),
  _class_name: only(
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "LatentConsistencyModelPipeline",
  ),
  unet: part("UNet2DConditionModel"),
  vae: part("AutoencoderKL"),
  text_encoder: part("CLIPTextModel"),
  tokenizer: part("CLIPTokenizer", "CLIPTokenizerFast"),
  scheduler: z.tuple([z.string(), z.string()], { error: "[library, class]" }),
});

/** @throws {CheckpointError} naming the field, what is supported and what the file says. */
export function parseUnetConfig(json: unknown, file = "unet/config.json"): UnetConfig {
  const c = parse(UnetSchema, json, file);
  const n = c.block_out_channels.length;
  const fail = failure(file, c);
  const byLevel = (field: "layers_per_block" | "transformer_layers_per_block" | "attention_head_dim") =>
    perLevel(c[field], n, () => fail(field, `${n} values, one for each of block_out_channels`));
  if (c.down_block_types.length !== n) {
    fail("down_block_types", `${n} types, one for each of block_out_channels`);
  }
  if (c.up_block_types.length !== n) fail("up_block_types", `${n} types, one for each of block_out_channels`);
  if (c.time_embedding_dim !== null && c.time_embedding_dim !== 4 * c.block_out_channels[0]) {
    fail("time_embedding_dim", `null or ${4 * c.block_out_channels[0]}`);
  }
  // Its sinusoids' frequencies are undefined for fewer.
  if (c.time_cond_proj_dim !== null && c.time_cond_proj_dim < 4) {
    fail("time_cond_proj_dim", "null or at least 4");
  }
  if (c.block_out_channels[0] % 2 !== 0) fail("block_out_channels", "an even number first");
  divides(
    c.block_out_channels,
    c.norm_num_groups,
    () => fail("norm_num_groups", "a divisor of block_out_channels"),
  );
  const headField = c.num_attention_heads === null ? "attention_head_dim" : "num_attention_heads";
  const heads = perLevel(
    c.num_attention_heads ?? c.attention_head_dim,
    n,
    () => fail(headField, `${n} values, one for each of block_out_channels`),
  );
  c.block_out_channels.forEach((channels, i) => {
    const attends = i === n - 1 || c.down_block_types[i] === "CrossAttnDownBlock2D" ||
      c.up_block_types[n - 1 - i] === "CrossAttnUpBlock2D";
    if (attends && channels % heads[i] !== 0) {
      fail(headField, `numbers of heads that divide block_out_channels`);
    }
  });
  return {
    sample_size: c.sample_size,
    in_channels: c.in_channels,
    out_channels: c.out_channels,
    flip_sin_to_cos: c.flip_sin_to_cos,
    freq_shift: c.freq_shift,
    down_block_types: c.down_block_types,
    up_block_types: c.up_block_types,
    block_out_channels: c.block_out_channels,
    layers_per_block: byLevel("layers_per_block"),
    transformer_layers_per_block: byLevel("transformer_layers_per_block"),
    norm_num_groups: c.norm_num_groups,
    norm_eps: c.norm_eps,
    cross_attention_dim: c.cross_attention_dim,
    attention_head_dim: heads,
    num_attention_heads: heads,
    use_linear_projection: c.use_linear_projection,
    time_cond_proj_dim: c.time_cond_proj_dim,
  };
}

/** @throws {CheckpointError} naming the field, what is supported and what the file says. */
export function parseVaeConfig(json: unknown, file = "vae/config.json"): VaeConfig {
  const c = parse(VaeSchema, json, file);
  const n = c.block_out_channels.length;
  const fail = failure(file, c);
  if (c.down_block_types.length !== n) {
    fail("down_block_types", `${n} types, one for each of block_out_channels`);
  }
  if (c.up_block_types.length !== n) fail("up_block_types", `${n} types, one for each of block_out_channels`);
  divides(
    c.block_out_channels,
    c.norm_num_groups,
    () => fail("norm_num_groups", "a divisor of block_out_channels"),
  );
  return {
    in_channels: c.in_channels,
    out_channels: c.out_channels,
    block_out_channels: c.block_out_channels,
    layers_per_block: c.layers_per_block,
    latent_channels: c.latent_channels,
    norm_num_groups: c.norm_num_groups,
    scaling_factor: c.scaling_factor,
    shift_factor: c.shift_factor ?? 0,
    use_quant_conv: c.use_quant_conv,
    use_post_quant_conv: c.use_post_quant_conv,
    mid_block_add_attention: c.mid_block_add_attention,
  };
}

/** @throws {CheckpointError} naming the field, what is supported and what the file says. */
export function parseTextConfig(json: unknown, file = "text_encoder/config.json"): TextConfig {
  const c = parse(TextSchema, json, file);
  if (c.hidden_size % c.num_attention_heads !== 0) {
    failure(file, c)("num_attention_heads", `a divisor of hidden_size ${c.hidden_size}`);
  }
  return {
    vocab_size: c.vocab_size,
    hidden_size: c.hidden_size,
    intermediate_size: c.intermediate_size,
    num_hidden_layers: c.num_hidden_layers,
    num_attention_heads: c.num_attention_heads,
    max_position_embeddings: c.max_position_embeddings,
    hidden_act: c.hidden_act,
    layer_norm_eps: c.layer_norm_eps,
  };
}

/** @throws {CheckpointError} naming the part or pipeline that is not supported. */
export function parseModelIndex(json: unknown, file = "model_index.json"): ModelIndex {
  const { _class_name, scheduler } = parse(ModelIndexSchema, json, file);
  return { _class_name, scheduler: scheduler[1] };
}

/** @throws {CheckpointError} if the networks of one folder do not fit each other. */
export function checkConfigsAgree(unet: UnetConfig, vae: VaeConfig, { text }: { text: TextConfig }): void {
  const check = (
    field: "in_channels" | "out_channels" | "cross_attention_dim",
    of: string,
    expected: number,
  ) => {
    if (unet[field] !== expected) {
      throw new CheckpointError(
        `Cannot use unet/config.json: expected ${field} to be ${expected}, the ${of}, found ${unet[field]}`,
      );
    }
  };
  check("in_channels", "latent_channels of vae/config.json", vae.latent_channels);
  check("out_channels", "latent_channels of vae/config.json", vae.latent_channels);
  check("cross_attention_dim", "hidden_size of text_encoder/config.json", text.hidden_size);
}

function parse<T extends z.ZodMiniObject>(schema: T, json: unknown, file: string): z.output<T> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const fail = failure(file, json);
  if (issue.code === "unrecognized_keys") {
    return fail(issue.keys[0], "absent, since this engine does not know it");
  }
  if (issue.path.length === 0) throw new CheckpointError(`Cannot use ${quote(file)}: expected an object`);
  return fail(String(issue.path[0]), issue.message);
}

function failure(file: string, json: unknown) {
  return (field: string, expected: string): never => {
    const value = Object.getOwnPropertyDescriptor(json, field)?.value;
    const found = value === undefined ? "nothing" : JSON.stringify(value);
    throw new CheckpointError(
      `Cannot use ${quote(file)}: expected ${field} to be ${expected}, found ` +
        (found.length > 100 ? found.slice(0, 100) + "…" : found),
    );
  };
}

function perLevel(value: number | number[], levels: number, fail: () => never): number[] {
  if (typeof value === "number") return new Array<number>(levels).fill(value);
  return value.length === levels ? value : fail();
}

function divides(values: readonly number[], divisor: number, fail: () => never) {
  if (values.some((value) => value % divisor !== 0)) fail();
}
