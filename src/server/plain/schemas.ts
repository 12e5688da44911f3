import { z } from "@hono/zod-openapi";
import { samplerNames } from "../../samplers/sampler.ts";
import { IMAGE_FORMATS } from "../images/encode.ts";
import { TokenMergingSchema } from "../token_merging.ts";

const Picture = z.string().min(1).openapi({ description: "PNG, JPEG or WebP: base64, or a data URL" });

export const GenerateSchema = z.strictObject({
  prompt: z.string().openapi({ description: "What to draw", example: "a 3d icon of a red apple" }),
  negative_prompt: z.string().optional().openapi({ description: "What to avoid", default: "" }),
  model: z.string().optional().openapi({ description: "One of GET /models; the server's first by default" }),
  width: z.int().positive().optional().openapi({
    description: "Pixels, a multiple of the model's factor unless `upscale`; its native size by default",
  }),
  height: z.int().positive().optional(),
  steps: z.int().min(1).max(1000).optional().openapi({
    description: "Denoising steps; the model's own number by default",
    example: 25,
  }),
  guidance_scale: z.number().min(0).max(100).optional().openapi({
    description: "How closely to follow the prompt; at 1 or less the network runs without guidance",
  }),
  seed: z.int().min(0).optional().openapi({
    description: "Picture i of several has seed + i; drawn at random by default",
  }),
  sampler: z.enum(samplerNames as [string, ...string[]]).optional().openapi({
    description: "The model's own by default",
  }),
  n: z.int().min(1).max(64).optional().openapi({ description: "Pictures to draw", default: 1 }),
  image: Picture.optional().openapi({ description: "Start from this picture; it is scaled to the size" }),
  mask: Picture.optional().openapi({ description: "With `image`: repaint where it is white" }),
  strength: z.number().gt(0).max(1).optional().openapi({
    description: "With `image`: the share of the steps to run; 0.75 by default, 1 with `mask`",
  }),
  noise: z.enum(["cpu", "philox"]).optional().openapi({
    description: "Whose random numbers a seed means: PyTorch's on the CPU or CUDA's",
    default: "cpu",
  }),
  upscale: z.boolean().optional().openapi({
    description: "Draw a picture far larger than the model's own size near that, and scale it up (Lanczos)",
    default: false,
  }),
  format: z.enum(IMAGE_FORMATS).optional().openapi({ description: "Of the pictures", default: "png" }),
  quality: z.int().min(0).max(100).optional().openapi({ description: "Of JPEG and WebP", default: 90 }),
  token_merging: z.union([TokenMergingSchema, z.null()]).optional(),
  previews: z.boolean().optional().openapi({
    description: "Event streams: a rough picture with every step",
    default: false,
  }),
  merge_maps: z.boolean().optional().openapi({
    description: "Event streams: which tokens every step merged",
    default: false,
  }),
}).openapi("Generate");

export type Generate = z.output<typeof GenerateSchema>;

const Size = z.object({ width: z.int(), height: z.int() });

export const ResultSchema = z.object({
  id: z.uuid().openapi({ description: "Of the job" }),
  images: z.array(z.object({
    url: z.string().openapi({ description: "Where the file can be fetched for a while" }),
    b64_json: z.string().optional().openapi({ description: "The file; in event streams only" }),
    seed: z.int(),
    width: z.int(),
    height: z.int(),
    drawn: Size.openapi({ description: "What the network drew; scaled from there" }),
  })),
  stats: z.object({
    device: z.string(),
    sampler: z.string(),
    steps: z.int(),
    network_calls: z.int(),
    seconds: z.object({
      text: z.number(),
      encode: z.number(),
      denoise: z.number(),
      decode: z.number(),
      total: z.number(),
    }),
    step_seconds: z.array(z.number()),
    tokens: z.array(z.object({ name: z.string(), before: z.int(), after: z.int() })).openapi({
      description: "Of each transformer block that merging was planned for, in one network call",
    }),
    multiply_adds: z.number().openapi({ description: "Of one network call" }),
    ceiling: z.number().openapi({ description: "What counting multiply-adds lets merging gain at most" }),
    peak_bytes: z.number().openapi({ description: "The most bytes that activations held at once" }),
  }),
  warnings: z.array(z.string()),
}).openapi("Result");

export const JobSchema = z.object({
  id: z.uuid(),
  dialect: z.string(),
  state: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  position: z.int().openapi({ description: "Jobs before it" }),
  progress: z.number().openapi({ description: "0 to 1" }),
  step: z.int().nullable(),
  steps: z.int().nullable(),
  seconds_left: z.number().nullable().openapi({ description: "By the pace so far; null while unknown" }),
  created_at: z.string(),
  error: z.string().nullable(),
  result: z.union([ResultSchema, z.null()]),
}).openapi("Job");

export const ProblemSchema = z.object({
  type: z.string(),
  title: z.string().openapi({ description: "For programs" }),
  status: z.int(),
  detail: z.string().openapi({ description: "For people: action, expected, found" }),
  param: z.string().optional().openapi({ description: "The field at fault" }),
  request_id: z.string(),
}).openapi("Problem", { description: "RFC 9457" });
