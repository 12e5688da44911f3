/**
 * OpenAI's own client, talking to `deno task serve`:
 * `deno run -A -c deno.dev.json examples/openai_client.ts http://127.0.0.1:7860 "a lemon"` (that file names the client).
 */
import { writeFile } from "node:fs/promises";
import process from "node:process";
import OpenAI from "openai";

const [url = "http://127.0.0.1:7860", prompt = "a lemon"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.TOME_API_KEY ?? "none" });

const stream = await client.images.generate({ prompt, size: "auto", stream: true, partial_images: 2 });
for await (const event of stream) {
  const last = event.type === "image_generation.completed";
  const name = last ? "lemon.png" : `lemon_${event.partial_image_index}.png`;
  await writeFile(name, Buffer.from(event.b64_json, "base64"));
  console.log(name);
}
