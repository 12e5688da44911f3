import { Hono } from "hono";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AppEnv } from "../env.ts";

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tome-edge: HTTP reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const START = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#reference", deepLinking: true });\n`;

const FILES = { "swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css" };

/** The reference, rendered by Swagger UI from files of our own. */
export function docs(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.get("/", (c) => c.html(PAGE));
  app.get("/start.js", (c) => c.body(START, 200, { "content-type": "text/javascript" }));
  for (const [name, type] of Object.entries(FILES)) {
    app.get(`/${name}`, async (c) => {
      // Its one module that is small: where its files are.
      const { default: folder } = await import("swagger-ui-dist/absolute-path.js");
      const bytes = new Uint8Array(await readFile(join(folder(), name)));
      return c.body(bytes, 200, { "content-type": type, "cache-control": "max-age=86400" });
    });
  }
  return app;
}
