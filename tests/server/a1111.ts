import assert from "node:assert/strict";
import type { Started } from "./app.ts";

// deno-lint-ignore no-explicit-any
export type Json = any;

export interface Drawn {
  images: string[];
  parameters: Json;
  info: Json;
}

/** Draws by AUTOMATIC1111's API; `info` is read. */
export async function draw({ post }: Started, kind: "txt2img" | "img2img", body: Json): Promise<Drawn> {
  const answer = await post(`/sdapi/v1/${kind}`, body);
  const json = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(json));
  assert.equal(typeof json.info, "string");
  return { ...json, info: JSON.parse(json.info) };
}

/** What a change of one field must do to the answer. */
export type Effect =
  /** Other pictures. */
  | "pixels"
  /** The same pictures; `info` lists the field. */
  | "ignored"
  /** What is to hold of the answer, beside the one without the change. */
  | ((changed: Drawn, base: Drawn) => void);

export type Row = [field: string, change: Json, effect: Effect];

/** Draws every row, over `base`, and asserts its effect. Different changes must draw different pictures, too. */
export async function assertEffects(
  draw: (body: Json) => Promise<Drawn>,
  base: Json,
  rows: readonly Row[],
): Promise<void> {
  const plain = await draw(base);
  const seen = new Map([[plain.images.join(), "nothing"]]);
  for (const [field, change, effect] of rows) {
    const changed = await draw({ ...base, ...change });
    const key = changed.images.join(), name = `${field}: ${JSON.stringify(change).slice(0, 80)}`;
    if (effect === "pixels") {
      assert(!seen.has(key), `${name} draws what ${seen.get(key)} draws`);
      seen.set(key, name);
      assert(!changed.info.ignored.includes(field), `${name} is said to be ignored`);
    } else if (effect === "ignored") {
      assert.equal(key, plain.images.join(), `${name} is ignored and changes the picture`);
      assert(changed.info.ignored.includes(field), `${name}: ${changed.info.ignored}`);
    } else effect(changed, plain);
  }
}
