/**
 * The server as a default export, for `deno serve` and `bun run`, with the model of `TOME_MODEL`, the models of
 * `TOME_MODELS`, the key of `TOME_API_KEY` and the port of `PORT`.
 *
 * @module
 */
import process from "node:process";
import { createApp } from "./app.ts";
import { Service } from "./service.ts";

const { TOME_MODEL: model, TOME_MODELS: folder, TOME_API_KEY: apiKey, PORT } = process.env;
const service = await Service.start({ model, folder, apiKey, log: console.log });
const app = createApp(service);
await service.load();

export default {
  port: Number(PORT ?? 7860),
  hostname: "127.0.0.1",
  idleTimeout: 0, // Bun closes silent requests otherwise
  fetch: (request: Request): Response | Promise<Response> => app.fetch(request, {}),
};
