import type { Activation, Backend, HostTensor, NormWeight, Tensor, Weight } from "../backend/backend.ts";
import { widen } from "../backend/half.ts";
import type { TextConfig } from "../checkpoint/configs.ts";
import { loadSelfAttention, type SelfAttention, selfAttention } from "../nn/attention.ts";
import { WeightReader, type WeightSource } from "../nn/weights.ts";

interface Layer {
  layer_norm1: NormWeight;
  self_attn: SelfAttention;
  layer_norm2: NormWeight;
  fc1: Weight;
  fc2: Weight;
}

/** transformers' `CLIPTextModel`. */
export interface ClipText {
  config: TextConfig;
  /** The tables stay on the host: a prompt needs a few dozen of their rows. */
  token_embedding: HostTensor;
  position_embedding: HostTensor;
  layers: Layer[];
  final_layer_norm: NormWeight;
}

const CLIP_ATTENTION = { q: "q_proj", k: "k_proj", v: "v_proj", out: "out_proj" };

export async function loadClipText(b: Backend, source: WeightSource, config: TextConfig): Promise<ClipText> {
  const w = new WeightReader(b, source).at("text_model");
  const { hidden_size: channels, intermediate_size, num_attention_heads: heads } = config;
  const layers: Layer[] = [];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const at = w.at("encoder.layers").at(i);
    layers.push({
      layer_norm1: await at.norm("layer_norm1", channels),
      self_attn: await loadSelfAttention(at.at("self_attn"), {
        channels,
        heads,
        bias: true,
        names: CLIP_ATTENTION,
      }),
      layer_norm2: await at.norm("layer_norm2", channels),
      fc1: await at.linear("mlp.fc1", channels, intermediate_size),
      fc2: await at.linear("mlp.fc2", intermediate_size, channels),
    });
  }
  return {
    config,
    token_embedding: await w.host("embeddings.token_embedding.weight", [config.vocab_size, channels]),
    position_embedding: await w.host("embeddings.position_embedding.weight", [
      config.max_position_embeddings,
      channels,
    ]),
    layers,
    final_layer_norm: await w.norm("final_layer_norm", channels),
  };
}

/** Token ids of B prompts, N each → the last hidden state after the final norm, `[B, N, C]`. */
export function clipTextForward(b: Backend, clip: ClipText, ids: readonly ArrayLike<number>[]): Tensor {
  const eps = { eps: clip.config.layer_norm_eps };
  const activation: Activation = clip.config.hidden_act;
  return b.scope(() => {
    let x = b.upload(embed(clip, ids), [ids.length, ids[0].length, clip.config.hidden_size]); // [B, N, C]
    for (const layer of clip.layers) {
      x = b.scope(() => {
        const h = selfAttention(b, layer.self_attn, b.layerNorm(x, layer.layer_norm1, eps), {
          residual: x,
          causal: true,
        });
        const mlp = b.linear(b.layerNorm(h, layer.layer_norm2, eps), layer.fc1, { activation });
        return b.linear(mlp, layer.fc2, { residual: h });
      });
    }
    return b.layerNorm(x, clip.final_layer_norm, eps);
  });
}

function embed(clip: ClipText, ids: readonly ArrayLike<number>[]): Float32Array {
  const { hidden_size: channels, vocab_size } = clip.config;
  const tokens = ids[0].length;
  const out = new Float32Array(ids.length * tokens * channels);
  const positions = widen(clip.position_embedding, 0, tokens * channels);
  ids.forEach((prompt, p) => {
    for (let t = 0; t < tokens; t++) {
      if (!(prompt[t] < vocab_size)) {
        throw new RangeError(
          `Cannot embed token id ${
            prompt[t]
          }: expected less than the text encoder's vocab_size ${vocab_size}`,
        );
      }
      const row = widen(clip.token_embedding, prompt[t] * channels, (prompt[t] + 1) * channels);
      const at = (p * tokens + t) * channels;
      for (let c = 0; c < channels; c++) out[at + c] = row[c] + positions[t * channels + c];
    }
  });
  return out;
}
