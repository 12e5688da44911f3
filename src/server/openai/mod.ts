/**
 * OpenAI's Images API: generations, edits and models, with its event streams and errors.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { streamSSE } from "hono/streaming";
import type { GenerateOptions, Picture } from "../../pipeline/options.ts";
import type { AppEnv } from "../env.ts";
import { draw } from "../draw.ts";
import type { Drawing } from "../drawing.ts";
import { openaiError } from "../error_shapes.ts";
import { HttpError, toHttpError } from "../errors.ts";
import { news, untilDone } from "../follow.ts";
import { headerList } from "../header.ts";
import { base64 } from "../images/base64.ts";
import type { Job } from "../queue.ts";
import type { Service } from "../service.ts";
import { toTokenMerging } from "../token_merging.ts";
import { readJson } from "../validate.ts";
import { fromForm, IGNORED, type ImagesRequest, ImagesSchema, parseSize } from "./schema.ts";

const NAMES = {
  n: "n",
  width: "size",
  height: "size",
  negativePrompt: "negative_prompt",
  guidanceScale: "guidance_scale",
} as const;

/** What a request draws, and how it is answered. */
interface Asked {
  body: ImagesRequest;
  /** Of the event names: `image_generation` or `image_edit`. */
  kind: "image_generation" | "image_edit";
  image?: Picture;
  mask?: Picture;
  /** Further pictures were sent. */
  more?: boolean;
}

export function openai(service: Service): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  app.post("/images/generations", async (c) => {
    const body = await readJson(c.req.raw, ImagesSchema);
    return await answer(c, service, { body, kind: "image_generation" });
  });

  app.post("/images/edits", async (c) => {
    return await answer(c, service, { ...await readForm(c, service), kind: "image_edit" });
  });

  const model = ({ id, created }: { id: string; created: number }) => ({
    id,
    object: "model",
    created,
    owned_by: "tome-edge",
  });
  app.get("/models", (c) => c.json({ object: "list", data: service.models.entries.map(model) }));
  app.get("/models/:id", (c) => c.json(model(service.models.get(c.req.param("id")))));
  return app;
}

async function answer(c: Context<AppEnv>, service: Service, asked: Asked): Promise<Response> {
  const { body, kind, image, mask } = asked;
  const { output_format: format, output_compression: quality, n } = body;
  if (body.prompt.trim() === "") throw wrong("prompt", "what to draw", "nothing");
  if (body.stream && n > 1) throw wrong("n", "1 with stream", `${n}`);
  const model = service.models.get(
    body.model === undefined || isOpenAiModel(body.model) ? undefined : body.model,
  );
  const size = parseSize(body.size) ?? (image && { width: image.width, height: image.height });
  const options: Omit<GenerateOptions, "signal" | "onStep"> = {
    prompt: body.prompt,
    negativePrompt: body.negative_prompt,
    ...size,
    steps: body.steps,
    guidanceScale: body.guidance_scale,
    seed: body.seed,
    sampler: body.sampler,
    n,
    image,
    mask,
    strength: body.strength,
    tokenMerging: toTokenMerging(body.token_merging),
  };
  const pass = { options, upscale: body.upscale ?? true };
  service.check(pass, { model, names: NAMES });
  const ignored = [
    ...IGNORED.filter((name) => body[name] !== undefined),
    ...Object.keys(body).filter((name) => !Object.hasOwn(ImagesSchema.shape, name)),
    ...asked.more ? ["image (beyond the first)"] : [],
    ...isOpenAiModel(body.model ?? "") ? ["model"] : [],
    ...!image && body.strength !== undefined ? ["strength"] : [],
    ...format === "png" && quality !== undefined ? ["output_compression"] : [],
    ...!body.stream && body.partial_images ? ["partial_images"] : [],
    ...body.stream && body.response_format === "url" ? ["response_format"] : [],
  ];
  if (ignored.length) c.header("tome-edge-ignored", headerList(ignored));
  const job = service.submit({
    dialect: "openai",
    images: n,
    request: body,
    work: (job) => draw(pass, { job, models: service.models, pictures: service.pictures, model }),
  });
  const encode = (picture: Drawing["pictures"][number]) =>
    service.pictures.encode(picture, { format, quality, text: picture.text });
  const about = ({ width, height }: { width: number; height: number }) => ({
    size: `${width}x${height}`,
    quality: "auto",
    background: "opaque",
    output_format: format,
  });
  const usage = (drawing: Drawing) => countUsage(service, options, drawing);

  if (body.stream) {
    c.header("x-accel-buffering", "no");
    return streamSSE(c, async (stream) => {
      const send = (data: { type: string } & Record<string, unknown>) =>
        stream.writeSSE({ event: data.type, data: JSON.stringify(data) });
      const updates = news(job);
      stream.onAbort(() => void updates.return());
      let sent = 0;
      for await (const item of updates) {
        if (stream.aborted) break;
        if (item.type !== "step") {
          await stream.write(": alive\n\n");
          continue;
        }
        const { index, total, preview } = item.step;
        // Spread evenly between the first step and the last, which is the picture itself.
        if (index === total || index / total < (sent + 1) / (body.partial_images + 1)) continue;
        if (sent >= body.partial_images) continue;
        const [picture] = preview();
        await send({
          type: `${kind}.partial_image`,
          b64_json: base64(await service.pictures.encode(picture, { format, quality })),
          partial_image_index: sent++,
          created_at: seconds(),
          ...about(picture),
        });
      }
      if (stream.aborted) return;
      if (job.state === "done") {
        const drawing = job.result!, [picture] = drawing.pictures;
        await send({
          type: `${kind}.completed`,
          b64_json: base64(await encode(picture)),
          created_at: seconds(),
          ...about(picture),
          usage: usage(drawing),
          ...extras(job, ignored),
        });
      } else {
        await stream.writeSSE({ event: "error", data: JSON.stringify(openaiError(toHttpError(job.error))) });
      }
    });
  }

  const drawing = await untilDone(job, c.req.raw.signal);
  const { drawn } = drawing.pictures[0];
  c.header("tome-edge-drawn", `${drawn.width}x${drawn.height}`);
  const origin = service.options.publicUrl?.replace(/\/+$/, "") ?? new URL(c.req.url).origin;
  const data = await Promise.all(drawing.pictures.map(async (picture) => {
    const bytes = await encode(picture);
    return body.response_format === "b64_json"
      ? { b64_json: base64(bytes) }
      : { url: origin + service.files.add({ bytes, type: `image/${format}` }) };
  }));
  return c.json({
    created: seconds(),
    data,
    ...about(drawing.pictures[0]),
    usage: usage(drawing),
    ...extras(job, ignored),
  });
}

/** What OpenAI's answer has no place for. */
function extras(job: Job, ignored: readonly string[]) {
  const { pictures, stats, warnings } = job.result!;
  return {
    tome_edge: {
      seeds: pictures.map(({ seed }) => seed),
      drawn: `${pictures[0].drawn.width}x${pictures[0].drawn.height}`,
      steps: stats[0].steps,
      sampler: stats[0].sampler,
      token_merging: stats[0].tokenMerging && {
        ratio: stats[0].tokenMerging.ratio,
        tokens: stats[0].tokens.filter(({ before, after }) => after < before),
        ceiling: stats[0].ceiling,
      },
      seconds: stats[0].seconds,
      device: stats[0].device,
      warnings,
      ignored,
    },
  };
}

/** Text tokens are characters over four, OpenAI's own rule of thumb; image tokens are latent pixels. */
function countUsage(
  service: Service,
  { prompt, negativePrompt = "", image }: Partial<GenerateOptions>,
  drawing: Drawing,
) {
  const factor = service.models.info?.factor ?? 8;
  const text = Math.ceil((prompt!.length + negativePrompt.length) / 4);
  const latents = ({ width, height }: { width: number; height: number }) =>
    Math.round(width / factor) * Math.round(height / factor);
  const input = image ? latents(drawing.pictures[0].drawn) : 0;
  const output = drawing.pictures.reduce((sum, { drawn }) => sum + latents(drawn), 0);
  return {
    input_tokens: text + input,
    output_tokens: output,
    total_tokens: text + input + output,
    input_tokens_details: { text_tokens: text, image_tokens: input },
  };
}

/** Clients that were made for OpenAI name its models, whatever the server has: the server's own draws for them. */
function isOpenAiModel(name: string): boolean {
  return /^(dall-e|gpt-image|chatgpt-image)/.test(name);
}

async function readForm(
  c: Context<AppEnv>,
  service: Service,
): Promise<Omit<Asked, "kind">> {
  const type = c.req.header("content-type") ?? "";
  if (!/^multipart\/form-data\b/i.test(type)) {
    throw new HttpError(
      415,
      `Cannot read the body: expected content-type multipart/form-data, found ${type || "none"}`,
      { code: "unsupported_media_type" },
    );
  }
  let form: FormData;
  try {
    form = await c.req.raw.formData();
  } catch (cause) {
    if (cause instanceof HttpError) throw cause;
    throw new HttpError(400, "Cannot read the body: expected multipart/form-data", {
      code: "invalid_form",
      cause,
    });
  }
  const body = fromForm(form);
  const read = async (names: string[]): Promise<Picture | undefined> => {
    const name = names.find((name) => form.has(name));
    const value = name === undefined ? undefined : form.get(name);
    if (value === null || value === undefined) return undefined;
    if (typeof value === "string") throw wrong(name!, "a file", "text");
    try {
      const bytes = new Uint8Array(await value.arrayBuffer());
      return await service.pictures.decode(bytes, { maxPixels: 4 * service.options.maxPixels });
    } catch (cause) {
      if (cause instanceof HttpError) throw cause;
      throw new HttpError(400, (cause as Error).message, { code: "invalid_image", param: name, cause });
    }
  };
  const image = await read(["image", "image[]"]);
  if (!image) throw wrong("image", "a file", "none");
  const mask = await read(["mask"]);
  if (mask && (mask.width !== image.width || mask.height !== image.height)) {
    throw wrong("mask", `the size of image, ${image.width}x${image.height}`, `${mask.width}x${mask.height}`);
  }
  return {
    body,
    image,
    mask: await service.pictures.editMask(mask ?? image, { needed: mask !== undefined }),
    more: form.getAll("image").length + form.getAll("image[]").length > 1,
  };
}

function wrong(param: string, expected: string, found: string): HttpError {
  return new HttpError(400, `Cannot use ${param}: expected ${expected}, found ${found}`, {
    code: "invalid_value",
    param,
  });
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
