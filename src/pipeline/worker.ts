/** The engine's worker: what `RemoteEngine` starts. */
import { serveEngine } from "./serve_engine.ts";

serveEngine();
