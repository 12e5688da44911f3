import { Hono } from "hono";
import process from "node:process";
import { totalmem } from "node:os";
import { type SamplerName, samplerNames } from "../../samplers/sampler.ts";
import type { AppEnv } from "../env.ts";
import type { Service } from "../service.ts";

/** As AUTOMATIC1111 names our samplers. */
export const SAMPLERS: Record<SamplerName, { name: string; aliases: string[] }> = {
  "ddim": { name: "DDIM", aliases: ["ddim"] },
  "pndm": { name: "PLMS", aliases: ["plms", "pndm"] },
  "euler": { name: "Euler", aliases: ["k_euler"] },
  "euler_a": { name: "Euler a", aliases: ["k_euler_a", "k_euler_ancestral"] },
  "dpm++_2m": { name: "DPM++ 2M", aliases: ["k_dpmpp_2m"] },
  "dpm++_2m_karras": { name: "DPM++ 2M Karras", aliases: ["k_dpmpp_2m_karras"] },
  "lcm": { name: "LCM", aliases: ["lcm"] },
};

const SCHEDULERS = [["automatic", "Automatic"], ["uniform", "Uniform"], ["karras", "Karras"]];

/** What there is none of here, and clients ask for nevertheless. */
const EMPTY = [
  "prompt-styles",
  "loras",
  "hypernetworks",
  "face-restorers",
  "realesrgan-models",
  "latent-upscale-modes",
  "sd-vae",
  "script-info",
  "extensions",
];

/** The lists that clients fill their menus from. */
export function lists({ models }: Service): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.get("/sd-models", (c) =>
    c.json(models.entries.map(({ id }) => ({
      title: id,
      model_name: id,
      hash: null,
      sha256: null,
      filename: id, // no path of this machine
      config: null,
    }))));
  app.get("/samplers", (c) => c.json(samplerNames.map((name) => ({ ...SAMPLERS[name], options: {} }))));
  app.get("/schedulers", (c) =>
    c.json(SCHEDULERS.map(([name, label]) => ({
      name,
      label,
      aliases: null,
      default_rho: -1,
      need_inner_model: false,
    }))));
  app.get(
    "/upscalers",
    (c) => c.json([{ name: "Lanczos", model_name: null, model_path: null, model_url: null, scale: 4 }]),
  );
  for (const name of EMPTY) app.get(`/${name}`, (c) => c.json([]));
  app.get("/embeddings", (c) => c.json({ loaded: {}, skipped: {} }));
  app.get("/scripts", (c) => c.json({ txt2img: [], img2img: [] }));
  app.get("/cmd-flags", (c) => c.json({ api: true, nowebui: false }));
  app.get("/memory", (c) => {
    const used = process.memoryUsage().rss, total = totalmem();
    return c.json({ ram: { free: total - used, used, total }, cuda: { error: "unavailable" } });
  });
  app.post("/refresh-checkpoints", (c) => c.json(null));
  return app;
}
