/**
 * AUTOMATIC1111's API: what its clients call to draw, to watch, to stop and to choose.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";
import { Hono } from "hono";
import type { AppEnv } from "../env.ts";
import { HttpError } from "../errors.ts";
import { untilDone } from "../follow.ts";
import { headerList } from "../header.ts";
import { base64 } from "../images/base64.ts";
import { firstPreview } from "../images/preview.ts";
import type { Service } from "../service.ts";
import { conform, readJson } from "../validate.ts";
import { infoOf, timestamp } from "./info.ts";
import { fieldsOf, withInfotext } from "./infotext.ts";
import { controls, drawRounds } from "./job.ts";
import { lists } from "./lists.ts";
import { type Plan, planImg2Img, planTxt2Img } from "./request.ts";
import { type Common, Img2ImgSchema, SettingsSchema, Txt2ImgSchema } from "./schema.ts";
import { changeSettings, defaultSettings, findModel, formatOf, type Settings } from "./settings.ts";

const BodySchema = z.looseObject({ infotext: z.nullish(z.string()) });
const PngInfoSchema = z.looseObject({ image: z.string() });

export function a1111(service: Service): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  const { models, queue } = service;
  let settings = defaultSettings(models);
  const adopt = (next: Settings) => {
    settings = next;
    models.current = findModel(models, next.sd_model_checkpoint);
  };

  const read = async <T>(request: Request, schema: z.ZodType<T>): Promise<T> =>
    conform(withInfotext(await readJson(request, BodySchema, 422)), schema, 422);

  /** Draws what a body asks for. */
  async function draw(body: Common, plan: Plan, signal: AbortSignal) {
    const { rounds, model } = plan, { upscale } = body;
    const job = service.submit({
      dialect: "a1111",
      images: plan.batchSize * body.n_iter,
      request: { ...body, init_images: undefined, mask: undefined },
      work: (job) => drawRounds(job, rounds, { service, model, upscale }),
    });
    if (!body.override_settings_restore_afterwards) adopt(plan.settings);
    const drawing = await untilDone(job, signal);
    const images = [];
    for (const picture of body.send_images ? drawing.pictures : []) {
      const format = formatOf(plan.settings), quality = plan.settings.jpeg_quality;
      images.push(base64(await service.pictures.encode(picture, { format, quality, text: picture.text })));
    }
    return { images, info: JSON.stringify(infoOf(drawing, { job, body, plan })) };
  }

  app.post("/txt2img", async (c) => {
    const body = await read(c.req.raw, Txt2ImgSchema);
    const drawn = await draw(body, planTxt2Img(body, { service, settings }), c.req.raw.signal);
    return c.json({ ...drawn, parameters: body });
  });

  app.post("/img2img", async (c) => {
    const body = await read(c.req.raw, Img2ImgSchema);
    const drawn = await draw(body, await planImg2Img(body, { service, settings }), c.req.raw.signal);
    const pictures = body.include_init_images ? {} : { init_images: null, mask: null };
    return c.json({ ...drawn, parameters: { ...body, ...pictures } });
  });

  app.get("/progress", (c) => {
    const job = queue.running;
    const control = job && controls.get(job);
    const hidden = /^(true|1|yes|on)$/i.test(c.req.query("skip_current_image") ?? "");
    const preview = hidden || !job?.step ? undefined : firstPreview(job.step, 128);
    return c.json({
      progress: job?.progress ?? 0,
      eta_relative: job?.secondsLeft ?? 0,
      state: {
        skipped: control?.skipped ?? false,
        interrupted: control?.interrupted ?? false,
        stopping_generation: job?.signal.aborted ?? false,
        job: job ? `task(${job.id})` : "",
        job_count: queue.waiting.length + (job ? 1 : 0),
        job_timestamp: timestamp(job?.createdAt ?? 0),
        job_no: 0,
        sampling_step: job?.step?.index ?? 0,
        sampling_steps: job?.step?.total ?? 0,
      },
      current_image: preview ?? null,
      textinfo: job && !job.step ? "waiting for the first step" : null,
    });
  });

  /** Stops what is drawn now, whoever asked for it; one of this dialect still answers with what there is. */
  const stop = (kind: "interrupted" | "skipped") => {
    const job = queue.running, control = job && controls.get(job);
    if (control) {
      control[kind] = true;
      control.stop();
    } else if (kind === "interrupted") job?.cancel("interrupted");
    return {};
  };
  app.post("/interrupt", (c) => c.json(stop("interrupted")));
  app.post("/skip", (c) => c.json(stop("skipped")));

  app.get("/options", (c) => c.json(settings));
  app.post("/options", async (c) => {
    const changed = changeSettings(settings, await readJson(c.req.raw, SettingsSchema, 422), models);
    adopt(changed.settings);
    if (changed.ignored.length) c.header("tome-edge-ignored", headerList(changed.ignored));
    return c.json(null);
  });

  app.post("/png-info", async (c) => {
    const { image } = await readJson(c.req.raw, PngInfoSchema, 422);
    try {
      const { parameters = "" } = await service.pictures.decodeBase64(image, {
        maxPixels: 4 * service.options.maxPixels,
      });
      return c.json({ info: parameters, items: { parameters }, parameters: fieldsOf(parameters) });
    } catch (cause) {
      if (cause instanceof HttpError) throw cause;
      const options = { code: "Invalid encoded image", param: "image", cause };
      throw new HttpError(422, (cause as Error).message, options);
    }
  });

  app.route("/", lists(service));
  return app;
}
