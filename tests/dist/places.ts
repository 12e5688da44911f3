/** Where the tests of dist/ find it: the built package in a folder of its own, a server of it, programs in folders. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { build, write } from "../../tools/build.ts";
import type { Output } from "../../tools/build/bundle.ts";
import { inRoot } from "../../tools/build/plugins.ts";

/** What is to be undone after the tests, the last first. */
const undo: (() => Promise<unknown>)[] = [];

export const undoLater = (step: () => Promise<unknown>): void => void undo.push(step);

export async function undoAll(): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

/** Runs once, when first asked for. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => made ??= make();
}

const folder = once(async () => {
  const path = await mkdtemp(join(tmpdir(), "tome-edge-dist-"));
  undoLater(() => rm(path, { recursive: true, force: true }));
  return path;
});

/** A folder with these files; there may be others in it already. */
export async function folderOf(name: string, files: Record<string, string>): Promise<string> {
  const path = join(await folder(), name);
  await mkdir(path, { recursive: true });
  for (const [file, text] of Object.entries(files)) await writeFile(join(path, file), text);
  return path;
}

/** The package as a clone has it after `deno task build`. */
export const builtPackage: () => Promise<{ path: string; outputs: Output[] }> = once(async () => {
  const path = join(await folder(), "package");
  const outputs = await build();
  await write(join(path, "dist"), outputs);
  for (const name of ["package.json", "deno.json", "README.md", "LICENSE", "bin"]) {
    await cp(inRoot(name), join(path, name), { recursive: true });
  }
  return { path, outputs };
});

/** dist/ on a server that lets pages of other origins read it, and nothing more. */
export const servedDist: () => Promise<Place> = once(async () => {
  const { path } = await builtPackage();
  const place = await serve(join(path, "dist"), { "access-control-allow-origin": "*" });
  undoLater(() => place.close());
  return place;
});

const TYPES: Record<string, string> = { js: "text/javascript", html: "text/html", ts: "text/typescript" };

export interface Place {
  origin: string;
  close(): Promise<void>;
}

/** Serves a folder, by byte range if asked, or texts by path, on loopback. */
export async function serve(
  files: string | Record<string, string>,
  headers: Record<string, string>,
): Promise<Place> {
  const read = async (path: string): Promise<Uint8Array> => {
    if (typeof files === "string") return await readFile(join(files, normalize(decodeURIComponent(path))));
    if (files[path] === undefined) throw new Error("no such file");
    return new TextEncoder().encode(files[path]);
  };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url!, "http://localhost");
    let data: Uint8Array;
    try {
      data = await read(pathname);
    } catch {
      response.writeHead(404, headers).end();
      return;
    }
    const type = TYPES[/\.(\w+)$/.exec(pathname)?.[1] ?? "html"] ?? "application/octet-stream";
    const given: Record<string, string | number> = { ...headers, "content-type": type };
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (range) {
      const from = Number(range[1]), to = Math.min(Number(range[2]) + 1, data.length);
      given["content-range"] = `bytes ${from}-${to - 1}/${data.length}`;
      data = data.subarray(from, to);
    }
    response.writeHead(range ? 206 : 200, { ...given, "content-length": data.length });
    response.end(request.method === "HEAD" ? undefined : data);
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
