import { parseParameters } from "../../image/parameters.ts";

/** What an infotext says, as the fields of a body. */
export function fieldsOf(infotext: string): Record<string, unknown> {
  const { fields, ...said } = parseParameters(infotext);
  const number = (name: string) => {
    const value = fields.get(name);
    return value && Number.isFinite(Number(value)) ? Number(value) : undefined;
  };
  const size = (name: string) => /^(\d+)x(\d+)\b/.exec(fields.get(name) ?? "")?.slice(1).map(Number) ?? [];
  const [width = said.width, height = said.height] = size("Scaled to");
  const [hr_resize_x, hr_resize_y] = size("Hires resize");
  const hr_scale = number("Hires upscale");
  return given({
    prompt: said.prompt || undefined,
    negative_prompt: said.negativePrompt || undefined,
    seed: said.seed,
    steps: said.steps,
    sampler_name: said.sampler,
    cfg_scale: said.guidanceScale,
    width,
    height,
    denoising_strength: said.strength,
    enable_hr: hr_scale !== undefined || hr_resize_x !== undefined || undefined,
    hr_scale,
    hr_resize_x,
    hr_resize_y,
    hr_second_pass_steps: number("Hires steps"),
    hr_upscaler: fields.get("Hires upscaler"),
    override_settings: given({
      token_merging_ratio: number("Token merging ratio"),
      token_merging_ratio_hr: number("Token merging ratio hr"),
      randn_source: fields.get("RNG"),
    }),
  });
}

/** The body, and what its infotext says for the fields that it leaves out. */
export function withInfotext(body: { infotext?: string | null } & Record<string, unknown>) {
  if (!body.infotext) return body;
  const said = fieldsOf(body.infotext), own = given(body);
  const settings = { ...said.override_settings as object, ...own.override_settings as object };
  return { ...said, ...own, override_settings: settings };
}

function given(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  );
}

/** What a second, larger pass adds to the infotext of the first, by AUTOMATIC1111's names. */
export function hiresFields(
  hires: { scale?: number; width: number; height: number; steps?: number; strength: number; ratio?: number },
): string {
  const fields = {
    "Denoising strength": hires.strength,
    "Hires upscale": hires.scale,
    "Hires resize": hires.scale === undefined ? `${hires.width}x${hires.height}` : undefined,
    "Hires steps": hires.steps,
    "Hires upscaler": "Lanczos",
    "Token merging ratio hr": hires.ratio,
  };
  return Object.entries(given(fields)).map(([name, value]) => `, ${name}: ${value}`).join("");
}
