/**
 * The page at `/`. What a browser gets is in pkg/, bundled by tools/build_page.ts from client/ and style/.
 *
 * @module
 */
import { Hono } from "hono";
import { etag } from "hono/etag";
import type { AppEnv } from "../env.ts";
import licences from "./pkg/LICENSES.txt" with { type: "text" };
import style from "./pkg/page.css" with { type: "text" };
import script from "./pkg/page.js" with { type: "text" };

/** Two tokens that become one. */
const ICON =
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#4b5bd6"/>` +
  `<path d="M8 9h4c4 0 4 7 8 7M8 23h4c4 0 4-7 8-7" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/>` +
  `<circle cx="23" cy="16" r="4" fill="#fff"/></svg>`;

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Stable Diffusion with token merging: draw, compare, look inside">
<title>tome-edge</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(ICON)}">
<link rel="stylesheet" href="/page.css">
<script type="module" src="/page.js"></script>
</head>
<body>
<noscript><p>This page needs JavaScript. The server can be asked without it: see <a href="/docs">its reference</a>.</p></noscript>
<div id="app"></div>
</body>
</html>
`;

const FILES: [path: string, type: string, body: string][] = [
  ["/", "text/html; charset=utf-8", PAGE],
  ["/page.js", "text/javascript; charset=utf-8", script as unknown as string],
  ["/page.css", "text/css; charset=utf-8", style],
  ["/page.licenses.txt", "text/plain; charset=utf-8", licences],
];

/** The page, all of it from here: asked for anew each time, and answered with 304 while it is the same. */
export function page(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  for (const [path, type, body] of FILES) {
    app.get(path, etag(), (c) => c.body(body, 200, { "content-type": type, "cache-control": "no-cache" }));
  }
  return app;
}
