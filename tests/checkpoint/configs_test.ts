import { test } from "node:test";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import {
  checkConfigsAgree,
  parseModelIndex,
  parseTextConfig,
  parseUnetConfig,
  parseVaeConfig,
  WITHOUT_EFFECT,
} from "../../src/checkpoint/configs.ts";
import { CheckpointError } from "../../src/errors.ts";

type Json = Record<string, unknown>;

async function emoji(file: string): Promise<Json> {
  return JSON.parse(await readFile(new URL(`../../models/emoji/${file}`, import.meta.url), "utf8"));
}

/** Every argument of the classes' constructors (diffusers 0.42, transformers 5), at a value that works. */
const FULL: { unet: Json; vae: Json; text: Json } = {
  unet: {
    _class_name: "UNet2DConditionModel",
    _diffusers_version: "0.42.0",
    sample_size: 64,
    in_channels: 4,
    out_channels: 4,
    center_input_sample: false,
    flip_sin_to_cos: true,
    freq_shift: 0,
    down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
    mid_block_type: "UNetMidBlock2DCrossAttn",
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
    only_cross_attention: false,
    block_out_channels: [320, 640],
    layers_per_block: 2,
    downsample_padding: 1,
    mid_block_scale_factor: 1,
    dropout: 0,
    act_fn: "silu",
    norm_num_groups: 32,
    norm_eps: 1e-5,
    cross_attention_dim: 768,
    transformer_layers_per_block: 1,
    reverse_transformer_layers_per_block: null,
    encoder_hid_dim: null,
    encoder_hid_dim_type: null,
    attention_head_dim: 8,
    num_attention_heads: null,
    dual_cross_attention: false,
    use_linear_projection: false,
    class_embed_type: null,
    addition_embed_type: null,
    addition_time_embed_dim: null,
    num_class_embeds: null,
    upcast_attention: false,
    resnet_time_scale_shift: "default",
    resnet_skip_time_act: false,
    resnet_out_scale_factor: 1,
    time_embedding_type: "positional",
    time_embedding_dim: null,
    time_embedding_act_fn: null,
    timestep_post_act: null,
    time_cond_proj_dim: null,
    conv_in_kernel: 3,
    conv_out_kernel: 3,
    projection_class_embeddings_input_dim: null,
    attention_type: "default",
    class_embeddings_concat: false,
    mid_block_only_cross_attention: null,
    cross_attention_norm: null,
    addition_embed_type_num_heads: 64,
  },
  vae: {
    _class_name: "AutoencoderKL",
    _diffusers_version: "0.42.0",
    in_channels: 3,
    out_channels: 3,
    down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    block_out_channels: [128, 256],
    layers_per_block: 2,
    act_fn: "silu",
    latent_channels: 4,
    norm_num_groups: 32,
    sample_size: 512,
    scaling_factor: 0.18215,
    shift_factor: null,
    latents_mean: null,
    latents_std: null,
    force_upcast: true,
    use_quant_conv: true,
    use_post_quant_conv: true,
    mid_block_add_attention: true,
  },
  text: {
    architectures: ["CLIPTextModel"],
    model_type: "clip_text_model",
    vocab_size: 49408,
    hidden_size: 768,
    intermediate_size: 3072,
    projection_dim: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    max_position_embeddings: 77,
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
    attention_dropout: 0,
    initializer_range: 0.02,
    initializer_factor: 1,
    pad_token_id: 1,
    bos_token_id: 49406,
    eos_token_id: 49407,
    dtype: "float32",
    torch_dtype: "float16",
    transformers_version: "5.0.0",
    dropout: 0,
  },
};

const PARSE = { unet: parseUnetConfig, vae: parseVaeConfig, text: parseTextConfig };

/** Another value of the same kind, that the class itself would take. */
const OTHER: { unet: Json; vae: Json; text: Json } = {
  unet: {
    sample_size: 96,
    in_channels: 9,
    out_channels: 8,
    freq_shift: 1,
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
    block_out_channels: [64, 128],
    layers_per_block: [2, 3],
    transformer_layers_per_block: [1, 2],
    norm_num_groups: 16,
    norm_eps: 1e-6,
    cross_attention_dim: 1024,
    attention_head_dim: [5, 10],
    num_attention_heads: 10,
    time_cond_proj_dim: 256,
  },
  vae: {
    block_out_channels: [64, 256],
    layers_per_block: 1,
    latent_channels: 16,
    norm_num_groups: 8,
    scaling_factor: 0.13025,
    shift_factor: 0.1159,
  },
  text: {
    vocab_size: 1000,
    hidden_size: 1536,
    intermediate_size: 4096,
    num_hidden_layers: 23,
    num_attention_heads: 16,
    max_position_embeddings: 32,
    hidden_act: "gelu",
    layer_norm_eps: 1e-6,
  },
};

/** Values of other kinds, among them every trap of JSON. */
const JUNK: unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2,
  7,
  1e300,
  "",
  "default",
  "gelu",
  "timestep",
  [],
  [1],
  [1, 1, 1],
  ["x"],
  [null, null],
  {},
  { a: 1 },
];

for (const kind of ["unet", "vae", "text"] as const) {
  const parse = PARSE[kind] as (json: unknown, file?: string) => object;
  const full = FULL[kind];
  const silent: readonly string[] = WITHOUT_EFFECT[kind];

  test(`${kind}: every field changed is used, refused by name, or listed as without effect`, () => {
    const base = parse(full);
    for (const field of Object.keys(full)) {
      const values = [...JUNK, OTHER[kind][field], typeof full[field] === "boolean" ? !full[field] : "other"];
      let used = 0, refused = 0;
      for (const value of values) {
        if (value === undefined || JSON.stringify(value) === JSON.stringify(full[field])) continue;
        let result: object | undefined;
        try {
          result = parse({ ...full, [field]: value });
        } catch (error) {
          assert.ok(error instanceof CheckpointError, `${field}: ${error}`);
          assert.match(error.message, /^Cannot use ".+": expected \w+ to be .+, found [^\n]+$/);
          assert.ok(error.message.includes(field), `${field} is not named in: ${error.message}`);
          refused++;
          continue;
        }
        if (JSON.stringify(result) !== JSON.stringify(base)) used++;
        else {
          const sameMeaning = (field === "act_fn" && value === "swish") ||
            (field === "mid_block_only_cross_attention" && value === false) ||
            (field === "architectures" && (value === null || (value as unknown[]).length === 0)) ||
            (field === "shift_factor" && value === 0);
          assert.ok(
            silent.includes(field) || sameMeaning,
            `${field} = ${JSON.stringify(value)} is ignored, and not listed as without effect`,
          );
        }
      }
      if (silent.includes(field)) assert.deepEqual([used, refused], [0, 0], field);
      else assert.ok(refused > 0, `${field} takes anything`);
      if (field in OTHER[kind]) assert.ok(used > 0, `${field} is never used`);
    }
  });

  test(`${kind}: a field left out has its default`, () => {
    for (const field of Object.keys(full)) {
      const { [field]: _, ...rest } = full;
      try {
        parse(rest);
      } catch (error) {
        // The default of the one contradicts what the others say, which is an error and not a guess.
        assert.match((error as Error).message, /block_out_channels|hidden_size|norm_num_groups/, field);
      }
    }
    assert.ok(parse({}));
  });

  test(`${kind}: an unknown field is named, whatever its value`, () => {
    for (const value of [null, false, 0, 1, "x"]) {
      assert.throws(() => parse({ ...full, brand_new: value }), {
        name: "CheckpointError",
        message: new RegExp(`expected brand_new to be absent, .*found ${JSON.stringify(value)}$`),
      });
    }
    for (const name of ["__proto__", "constructor", "toString"]) {
      const json = JSON.parse(JSON.stringify(full).replace("{", `{"${name}":{"in_channels":9},`));
      assert.throws(() => parse(json), CheckpointError, name);
    }
  });

  test(`${kind}: what is not an object is refused`, () => {
    for (const json of [null, undefined, 1, "x", [], [full], true]) {
      assert.throws(() => parse(json), { name: "CheckpointError", message: /expected an object/ });
    }
  });
}

test("the defaults are those of the classes", () => {
  assert.deepEqual(parseUnetConfig({}), {
    sample_size: null,
    in_channels: 4,
    out_channels: 4,
    flip_sin_to_cos: true,
    freq_shift: 0,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    block_out_channels: [320, 640, 1280, 1280],
    layers_per_block: [2, 2, 2, 2],
    transformer_layers_per_block: [1, 1, 1, 1],
    norm_num_groups: 32,
    norm_eps: 1e-5,
    cross_attention_dim: 1280,
    attention_head_dim: [8, 8, 8, 8],
    num_attention_heads: [8, 8, 8, 8],
    use_linear_projection: false,
    time_cond_proj_dim: null,
  });
  assert.deepEqual(parseVaeConfig({}), {
    in_channels: 3,
    out_channels: 3,
    block_out_channels: [64],
    layers_per_block: 1,
    latent_channels: 4,
    norm_num_groups: 32,
    scaling_factor: 0.18215,
    shift_factor: 0,
    use_quant_conv: true,
    use_post_quant_conv: true,
    mid_block_add_attention: true,
  });
  assert.deepEqual(parseTextConfig({}), {
    vocab_size: 49408,
    hidden_size: 512,
    intermediate_size: 2048,
    num_hidden_layers: 12,
    num_attention_heads: 8,
    max_position_embeddings: 77,
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
  });
});

test("numbers of heads: attention_head_dim is their historical name, num_attention_heads goes first", () => {
  const heads = (fields: Json) => parseUnetConfig({ ...FULL.unet, ...fields }).num_attention_heads;
  assert.deepEqual(heads({ attention_head_dim: 8 }), [8, 8]);
  assert.deepEqual(heads({ attention_head_dim: [5, 10] }), [5, 10]);
  assert.deepEqual(heads({ attention_head_dim: 8, num_attention_heads: [4, 5] }), [4, 5]);
  assert.throws(() => heads({ attention_head_dim: [5, 10, 20] }), /attention_head_dim to be 2 values/);
  assert.throws(
    () => heads({ attention_head_dim: 7 }),
    /attention_head_dim to be numbers of heads that divide/,
  );
  assert.throws(
    () => heads({ num_attention_heads: 7 }),
    /num_attention_heads to be numbers of heads that divide/,
  );
});

test("lists that do not fit block_out_channels are refused by name", () => {
  const unet = (fields: Json) => () => parseUnetConfig({ ...FULL.unet, ...fields });
  assert.throws(unet({ layers_per_block: [1] }), /layers_per_block to be 2 values/);
  assert.throws(
    unet({ transformer_layers_per_block: [1, 1, 1] }),
    /transformer_layers_per_block to be 2 values/,
  );
  assert.throws(unet({ down_block_types: ["DownBlock2D"] }), /down_block_types to be 2 types/);
  assert.throws(unet({ up_block_types: ["UpBlock2D"] }), /up_block_types to be 2 types/);
  assert.throws(unet({ block_out_channels: [320, 641] }), /norm_num_groups to be a divisor/);
  assert.throws(unet({ time_embedding_dim: 512 }), /time_embedding_dim to be null or 1280, found 512/);
  assert.equal(unet({ time_embedding_dim: 1280 })().in_channels, 4);
});

test("Stable Diffusion 1.5's and 2.1's own configurations are taken", () => {
  const v1 = parseUnetConfig({
    _class_name: "UNet2DConditionModel",
    _diffusers_version: "0.6.0",
    act_fn: "silu",
    attention_head_dim: 8,
    block_out_channels: [320, 640, 1280, 1280],
    center_input_sample: false,
    cross_attention_dim: 768,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    downsample_padding: 1,
    flip_sin_to_cos: true,
    freq_shift: 0,
    in_channels: 4,
    layers_per_block: 2,
    mid_block_scale_factor: 1,
    norm_eps: 1e-5,
    norm_num_groups: 32,
    out_channels: 4,
    sample_size: 64,
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  });
  assert.deepEqual([v1.num_attention_heads, v1.use_linear_projection], [[8, 8, 8, 8], false]);
  const v2 = parseUnetConfig({
    ...v1,
    _class_name: "UNet2DConditionModel",
    num_attention_heads: null,
    attention_head_dim: [5, 10, 20, 20],
    cross_attention_dim: 1024,
    dual_cross_attention: false,
    only_cross_attention: false,
    sample_size: 96,
    upcast_attention: true,
    use_linear_projection: true,
  });
  assert.deepEqual([v2.num_attention_heads, v2.use_linear_projection], [[5, 10, 20, 20], true]);
  const text = parseTextConfig({
    _name_or_path: "x",
    architectures: ["CLIPTextModel"],
    attention_dropout: 0.0,
    bos_token_id: 0,
    dropout: 0.0,
    eos_token_id: 2,
    hidden_act: "gelu",
    hidden_size: 1024,
    initializer_factor: 1.0,
    initializer_range: 0.02,
    intermediate_size: 4096,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 77,
    model_type: "clip_text_model",
    num_attention_heads: 16,
    num_hidden_layers: 23,
    pad_token_id: 1,
    projection_dim: 512,
    torch_dtype: "float32",
    transformers_version: "4.25.0.dev0",
    vocab_size: 49408,
  });
  assert.deepEqual([text.hidden_act, text.num_hidden_layers], ["gelu", 23]);
});

test("the embedded model's networks fit each other, and others would be refused", async () => {
  const unet = parseUnetConfig(await emoji("unet/config.json"));
  const vae = parseVaeConfig(await emoji("vae/config.json"));
  const text = parseTextConfig(await emoji("text_encoder/config.json"));
  checkConfigsAgree(unet, vae, { text });
  assert.equal(parseModelIndex(await emoji("model_index.json")).scheduler, "DDIMScheduler");
  assert.throws(
    () => checkConfigsAgree({ ...unet, in_channels: 9 }, vae, { text }),
    /in_channels to be 4, .* found 9/,
  );
  assert.throws(() => checkConfigsAgree(unet, vae, { text: { ...text, hidden_size: 64 } }), {
    message: "Cannot use unet/config.json: expected cross_attention_dim to be 64, the hidden_size of " +
      `text_encoder/config.json, found ${unet.cross_attention_dim}`,
  });
});

test("model_index.json: other pipelines and other parts are refused by name", async () => {
  const index = await emoji("model_index.json");
  const reject = (fields: Json, message: RegExp) =>
    assert.throws(() => parseModelIndex({ ...index, ...fields }), { name: "CheckpointError", message });
  reject({ _class_name: "StableDiffusionXLPipeline" }, /_class_name .* found "StableDiffusionXLPipeline"/);
  reject(
    { text_encoder_2: ["transformers", "CLIPTextModelWithProjection"] },
    /expected text_encoder_2 to be absent/,
  );
  reject(
    { vae: ["diffusers", "AutoencoderTiny"] },
    /vae to be "AutoencoderKL", found \["diffusers","AutoencoderTiny"\]/,
  );
  reject({ unet: ["diffusers", "UNet3DConditionModel"] }, /unet to be "UNet2DConditionModel"/);
  reject({ text_encoder: [null, null] }, /text_encoder to be /);
  reject({ tokenizer: ["transformers", "T5Tokenizer"] }, /tokenizer to be "CLIPTokenizer"/);
  reject({ scheduler: "DDIMScheduler" }, /scheduler to be \[library, class\]/);
  for (const json of [null, [], "x"]) assert.throws(() => parseModelIndex(json), /expected an object/);
});
