/** What the tests of dist/ share: the built files in a folder, servers of them, and programs that draw with them. */
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import type { GenerateOptions } from "../../src/mod.ts";
import type { LoadOptions } from "../../src/pipeline/pipeline.ts";
import { build, write } from "../../tools/build.ts";
import type { Output } from "../../tools/build/bundle.ts";
import { inRoot } from "../../tools/build/plugins.ts";

export interface Drawn {
  device: string;
  /** Base64. */
  png: string;
}

/** A module that exports `draw(load, options)`, which gives what `Drawn` says. */
export const drawingModule = (specifier: string): string => `
import { loadPipeline } from "${specifier}";
export async function draw(load, options) {
  const pipe = await loadPipeline(undefined, load);
  const { images: [image] } = await pipe.generate(options);
  const { device } = pipe.info;
  await pipe.dispose();
  return { device, png: btoa(String.fromCharCode(...image.png())) };
}
`;

/** A program that prints what it drew as JSON. */
export const drawingProgram = (specifier: string, load: LoadOptions, options: GenerateOptions): string =>
  `${drawingModule(specifier)}
draw(${JSON.stringify(load)}, ${JSON.stringify(options)}).then((drawn) => console.log(JSON.stringify(drawn)));
`;

/** The npm package's folder, as a clone has it after `deno task build`. */
export async function buildPackage(folder: string): Promise<Output[]> {
  const outputs = await build();
  await write(join(folder, "dist"), outputs);
  for (const name of ["package.json", "deno.json", "README.md", "LICENSE", "bin"]) {
    await cp(inRoot(name), join(folder, name), { recursive: true });
  }
  return outputs;
}

const TYPES: Record<string, string> = { js: "text/javascript", html: "text/html", ts: "text/typescript" };

export interface Place {
  /** Its origin. */
  origin: string;
  close(): Promise<void>;
}

/** Serves a folder, by byte range if asked, or texts by path, on loopback. */
export async function serve(
  files: string | Record<string, string>,
  headers: (path: string) => Record<string, string>,
): Promise<Place> {
  const server = createServer(async ({ url, method, headers: asked }, response) => {
    const { pathname } = new URL(url!, "http://localhost");
    let data: Uint8Array;
    try {
      data = typeof files === "string"
        ? await readFile(join(files, normalize(decodeURIComponent(pathname))))
        : new TextEncoder().encode(files[pathname] ?? raise());
    } catch {
      response.writeHead(404, headers(pathname)).end();
      return;
    }
    const type = TYPES[/\.(\w+)$/.exec(pathname)?.[1] ?? "html"] ?? "application/octet-stream";
    const given: Record<string, string | number> = { ...headers(pathname), "content-type": type };
    const range = /^bytes=(\d+)-(\d+)$/.exec(asked.range ?? "");
    if (range) {
      const [from, to] = [Number(range[1]), Math.min(Number(range[2]) + 1, data.length)];
      given["content-range"] = `bytes ${from}-${to - 1}/${data.length}`;
      data = data.subarray(from, to);
    }
    response.writeHead(range ? 206 : 200, { ...given, "content-length": data.length });
    response.end(method === "HEAD" ? undefined : data);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections?.();
      await closed;
    },
  };
}

function raise(): never {
  throw new Error("no such file");
}

const start = promisify(execFile);

/** What a program printed; an error with its stderr if it failed. */
export async function run(
  [program, ...args]: readonly string[],
  { cwd, env }: { cwd: string; env?: Record<string, string> },
): Promise<string> {
  const { stdout } = await start(program, args, {
    cwd,
    env: { ...process.env, ...env },
    timeout: 180_000,
    maxBuffer: 1 << 24,
  });
  return stdout;
}

/** The last line, which is JSON. */
export const answerOf = (stdout: string): Drawn => JSON.parse(stdout.trim().split("\n").at(-1)!);

/** Writes files into a new folder. */
export async function folderOf(path: string, files: Record<string, string>): Promise<string> {
  await mkdir(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}
