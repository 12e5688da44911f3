/**
 * How fast the server answers other requests while it draws: a process of its own, pictures of the embedded model
 * one after the other, and meanwhile one request at a time, to the routes that clients poll.
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { median, type Report } from "./measure.ts";

/** ms; a person notices more. */
const LIMIT = 50;
const ROUTES = ["/healthz", "/jobs", "/v1/models", "/sdapi/v1/progress", "/openapi.json", "/metrics"];
const SECONDS = 20;
/** Few large ones, and many that are drawn small, scaled to 512² and written: the engine rests, the encoder does not. */
const DRAWINGS = {
  idle: undefined,
  "drawing 256²": { width: 256, height: 256 },
  "drawing 512²": { width: 512, height: 512 },
  "drawing 64², scaled to 512²": { width: 512, height: 512, upscale: true },
};

export async function run(report: Report): Promise<void> {
  const { child, url } = await startServer();
  try {
    const draw = (size: object) =>
      fetch(`${url}/generate`, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "image/png" },
        body: JSON.stringify({ prompt: "a red apple", seed: 1, steps: 4, ...size }),
      }).then(checkPicture);
    await draw({ width: 256, height: 256 }); // warms up
    for (const [name, size] of Object.entries(DRAWINGS)) {
      const times = new Map<string, number[]>(ROUTES.map((route) => [route, []]));
      let pictures = 0, ended = false;
      const pump = size
        ? (async () => {
          while (!ended) {
            await draw(size);
            pictures++;
          }
        })()
        : undefined;
      const end = performance.now() + SECONDS * 1000;
      while (performance.now() < end) {
        for (const [route, list] of times) {
          const start = performance.now();
          const answer = await fetch(url + route);
          await answer.arrayBuffer();
          list.push(performance.now() - start);
          if (!answer.ok) throw new Error(`${route} answered ${answer.status}`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
      ended = true;
      await pump;
      report.line(
        `\n${name}${size ? `: ${pictures} pictures` : ""}\nroute${
          " ".repeat(22)
        }n   median      p99      max`,
      );
      for (const [route, list] of times) {
        const p99 = list.toSorted((a, b) => a - b)[Math.floor(list.length * 0.99)];
        const row = { route, n: list.length, median: median(list), p99, max: Math.max(...list) };
        report.row({ while: name, ...row });
        report.line(
          `${route.padEnd(22)} ${`${row.n}`.padStart(5)} ${
            [row.median, p99, row.max].map((t) => t.toFixed(1).padStart(5) + " ms").join(" ")
          }` + (p99 > LIMIT ? `   above ${LIMIT} ms` : ""),
        );
      }
    }
  } finally {
    child.kill("SIGTERM");
  }
}

async function checkPicture(answer: Response): Promise<void> {
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (!answer.ok || bytes[1] !== 0x50) throw new Error(`Expected a PNG, found ${answer.status}`);
}

async function startServer(): Promise<{ child: ChildProcess; url: string }> {
  const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check"] : ["run"];
  const child = spawn(process.execPath, [...flags, main, "serve", "--port", "0", "--quiet"], {
    stdio: ["ignore", "inherit", "pipe"],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stderr!.on("data", (data) => {
      const match = /http:\/\/\S+/.exec(text += data);
      if (match) resolve(match[0]);
    });
    child.on("exit", (code) => reject(new Error(`The server ended with ${code}: ${text}`)));
  });
  return { child, url };
}
