/** Pictures as a part of your own app: `bun run examples/bun_server.ts`, then open http://127.0.0.1:3000/. */
import { Hono } from "hono";
import { createApp, Service } from "tome-edge/server";

const service = await Service.start({ maxWaiting: 4 });
await service.load();

const app = new Hono();
app.get("/", (c) => c.html(`<h1>My app</h1><img src="/apple.png" width="192" alt="an apple">`));
app.get("/apple.png", async () => {
  const body = JSON.stringify({ prompt: "a 3d icon of a red apple", seed: 3, token_merging: { ratio: 0.5 } });
  const headers = { "content-type": "application/json" };
  return await pictures.request("/generate", { method: "POST", headers, body });
});
const pictures = createApp(service); // every dialect: /generate, /v1/images/generations, /sdapi/v1/txt2img
app.route("/pictures", pictures);

// Bun closes requests that are silent for ten seconds unless told otherwise.
export default {
  port: Number(process.env.PORT ?? 3000),
  hostname: "127.0.0.1",
  idleTimeout: 0,
  fetch: app.fetch,
};
