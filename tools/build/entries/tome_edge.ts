/** What `dist/tome-edge.js` is made of: the public API, and what its worker runs. */
export * from "../../../src/mod.ts";
export { serveEngine } from "../../../src/pipeline/serve_engine.ts";
