/**
 * Our own dialect: `POST /generate`, the jobs, `/openapi.json` and `/docs`.
 *
 * @module
 */
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { VERSION } from "../../version.ts";
import type { GenerateOptions } from "../../pipeline/options.ts";
import type { AppEnv } from "../env.ts";
import { draw } from "../draw.ts";
import { problem } from "../error_shapes.ts";
import { HttpError, toHttpError } from "../errors.ts";
import { news, untilDone } from "../follow.ts";
import type { Job } from "../queue.ts";
import type { Service } from "../service.ts";
import { toTokenMerging } from "../token_merging.ts";
import { readJson } from "../validate.ts";
import { docs } from "./docs.ts";
import { ROUTES } from "./routes.ts";
import { type Generate, GenerateSchema } from "./schemas.ts";
import { encodePicture, type FileOptions, summary, toJob, toResult, toStep } from "./wire.ts";

/** What the wire calls the engine's options. */
const NAMES = { negativePrompt: "negative_prompt", guidanceScale: "guidance_scale" } as const;

/** How a job's pictures are to be written, and what its events tell. */
interface Asked extends FileOptions {
  previews: boolean;
}

const asked = new WeakMap<Job, Asked>();
const PLAIN: Asked = { format: "png", previews: true };

const ABOUT = {
  openapi: "3.1.0",
  info: {
    title: "tome-edge",
    version: VERSION,
    description:
      "Stable Diffusion with token merging. The same server speaks OpenAI's Images API under /v1 and " +
      "AUTOMATIC1111's under /sdapi/v1; token merging is reachable from both (`token_merging`, " +
      "`override_settings.token_merging_ratio`).",
  },
};

export function plain(service: Service): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>();
  for (const route of ROUTES) app.openAPIRegistry.registerPath(route);

  app.post("/generate", async (c) => {
    const body = await readJson(c.req.raw, GenerateSchema);
    const kind = accepted(c.req.header("accept"), body);
    const job = await submit(service, body, /\brespond-async\b/.test(c.req.header("prefer") ?? ""));
    c.header("tome-edge-job", job.id);
    if (job.options.detached) {
      return c.json(await toJob(job, service, PLAIN), 202, { location: `/jobs/${job.id}` });
    }
    if (kind === "events") return events(c, job, service);
    const drawing = await untilDone(job, c.req.raw.signal);
    const { seed, drawn } = drawing.pictures[0];
    c.header("tome-edge-seed", String(seed));
    c.header("tome-edge-drawn", `${drawn.width}x${drawn.height}`);
    if (drawing.warnings.length) {
      c.header(
        "tome-edge-warnings",
        encodeURIComponent(drawing.warnings.join("; ").slice(0, 1000).toWellFormed()),
      );
    }
    const { text, denoise, decode } = drawing.stats[0].seconds;
    const ms = (s: number) => (s * 1000).toFixed(1);
    c.header("server-timing", `text;dur=${ms(text)}, denoise;dur=${ms(denoise)}, decode;dur=${ms(decode)}`);
    const file = asked.get(job)!;
    if (kind === "json") return c.json(await toResult(job, { service, file, withBytes: false }));
    return c.body(await encodePicture(drawing.pictures[0], file, service), 200, {
      "content-type": `image/${file.format}`,
    });
  });

  const find = (c: Context<AppEnv>): Job => {
    const job = service.queue.get(c.req.param("id")!);
    if (!job) throw new HttpError(404, "There is no such job, or no longer", { code: "job_not_found" });
    return job;
  };
  const show = (job: Job) => toJob(job, service, asked.get(job) ?? PLAIN);

  app.get("/jobs", (c) => c.json({ jobs: service.queue.jobs.map(summary) }));
  app.get("/jobs/:id", async (c) => {
    const job = find(c);
    if (/text\/event-stream/.test(c.req.header("accept") ?? "")) return events(c, job, service);
    return c.json(await show(job));
  });
  app.delete("/jobs/:id", async (c) => {
    const job = find(c);
    job.cancel();
    await job.ended;
    return c.json(await show(job));
  });
  app.get("/models", (c) =>
    c.json({
      models: service.models.entries.map((entry) => {
        const loaded = entry === service.models.loaded;
        return { id: entry.id, loaded, ...loaded && { info: service.models.info } };
      }),
    }));

  let document: unknown;
  app.get("/openapi.json", (c) => c.json(document ??= app.getOpenAPI31Document(ABOUT)));
  app.route("/docs", docs());
  return app;
}

type Kind = "events" | "json" | "picture";

function accepted(accept: string | undefined, { n = 1, format = "png" }: Generate): Kind {
  const header = accept ?? "*/*";
  if (/text\/event-stream/.test(header)) return "events";
  if (/image\/|\*\/\*/.test(header)) {
    if (n === 1) return "picture";
    if (/application\/json|\*\/\*/.test(header)) return "json"; // several pictures
  }
  if (/application\/json|application\/\*/.test(header)) return "json";
  throw new HttpError(
    406,
    `Cannot answer in ${header}: expected application/json, text/event-stream or, for one picture, image/${format}`,
    { code: "not_acceptable" },
  );
}

async function submit(service: Service, body: Generate, detached: boolean): Promise<Job> {
  const model = service.models.get(body.model);
  if (body.prompt.trim() === "") {
    throw new HttpError(400, "Cannot use prompt: expected what to draw, found nothing", {
      code: "invalid_value",
      param: "prompt",
    });
  }
  for (const name of ["mask", "strength"] as const) {
    if (body[name] !== undefined && body.image === undefined) {
      throw new HttpError(400, `Cannot use ${name} without image`, { code: "invalid_value", param: name });
    }
  }
  const picture = async (name: "image" | "mask") => {
    if (body[name] === undefined) return undefined;
    try {
      return await service.pictures.decodeBase64(body[name], { maxPixels: 4 * service.options.maxPixels });
    } catch (cause) {
      if (cause instanceof HttpError) throw cause;
      throw new HttpError(400, (cause as Error).message, { code: "invalid_image", param: name, cause });
    }
  };
  const [image, mask] = [await picture("image"), await picture("mask")];
  const options: Omit<GenerateOptions, "signal" | "onStep"> = {
    prompt: body.prompt,
    negativePrompt: body.negative_prompt,
    width: body.width ?? image?.width,
    height: body.height ?? image?.height,
    steps: body.steps,
    guidanceScale: body.guidance_scale,
    seed: body.seed,
    sampler: body.sampler,
    n: body.n,
    image,
    mask,
    strength: body.strength,
    noise: body.noise,
    tokenMerging: toTokenMerging(body.token_merging),
    mergeMaps: body.merge_maps,
  };
  const pass = { options, upscale: body.upscale ?? false };
  service.check(pass, { model, names: NAMES });
  const { image: _image, mask: _mask, ...request } = body;
  const job = service.submit({
    dialect: "plain",
    images: body.n ?? 1,
    detached,
    request,
    work: (job) => draw(pass, { job, models: service.models, pictures: service.pictures, model }),
  });
  const { format = "png", quality, previews = false } = body;
  asked.set(job, { format, quality, previews });
  return job;
}

/** The events of a job. The stream's end is the job's; who leaves it no longer follows. */
function events(c: Context<AppEnv>, job: Job, service: Service): Response {
  const { previews, ...file } = asked.get(job) ?? PLAIN, { pictures } = service;
  c.header("x-accel-buffering", "no"); // proxies would hold the events back
  return streamSSE(c, async (stream) => {
    let id = 0;
    const send = (event: string, data: unknown) =>
      stream.writeSSE({ event, id: String(id++), data: JSON.stringify(data) });
    const updates = news(job);
    stream.onAbort(() => void updates.return());
    for await (const item of updates) {
      if (stream.aborted) break;
      if (item.type === "alive") await stream.write(": alive\n\n");
      else if (item.type === "step") await send("step", await toStep(job, item.step, { pictures, previews }));
      else {await send("queued", {
          id: job.id,
          position: item.position,
          seconds_left: job.secondsLeft ?? null,
        });}
    }
    if (stream.aborted) return;
    if (job.state === "done") await send("done", await toResult(job, { service, file, withBytes: true }));
    else await send("error", problem(toHttpError(job.error), c.get("requestId")));
  });
}
