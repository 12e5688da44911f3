/** The engine's worker on Bun: see `bun_packages.ts`. */
import process from "node:process";
import { usePackages } from "./bun_packages.ts";

usePackages(JSON.parse(process.env.TOME_EDGE_PACKAGES ?? "{}"));
await import("./worker.ts");
