import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { cacheStore } from "../../src/checkpoint/chunk_store.ts";
import { httpFolder, type HttpFolderOptions, type LoadProgress } from "../../src/checkpoint/http_source.ts";
import type { FolderSource } from "../../src/checkpoint/source.ts";
import { AbortError, CheckpointError } from "../../src/errors.ts";
import { type Manners, serveFiles, type TestServer } from "./http_server.ts";

const CHUNK = 65536;
const DATA = Uint8Array.from({ length: 10 * CHUNK + 1000 }, (_, i) => (i * i) >>> 7);
const FILES = new Map([["a/b c.bin", DATA], ["small.json", DATA.subarray(0, 100)], [
  "empty",
  new Uint8Array(),
]]);
const BIG = "a/b c.bin";

/** A folder of a server with such manners. Nothing is cached unless `options` say so. */
async function withFolder(
  manners: Manners,
  options: HttpFolderOptions,
  body: (folder: FolderSource, server: TestServer) => Promise<void>,
): Promise<void> {
  const server = await serveFiles(FILES, manners);
  try {
    const folder = await httpFolder(server.url, { cache: false, chunkBytes: CHUNK, delay: 1, ...options });
    try {
      await body(folder, server);
    } finally {
      await folder.close!();
    }
  } finally {
    await server.close();
  }
}

async function inCacheDir(body: (cacheDir: string) => Promise<void>): Promise<void> {
  const cacheDir = await mkdtemp(join(tmpdir(), "tome-edge-http-"));
  try {
    await body(cacheDir);
  } finally {
    await rm(cacheDir, { recursive: true });
  }
}

/** All of a file, in pieces that do not fit its chunks, the last first. */
async function readAll(folder: FolderSource, path = BIG): Promise<Uint8Array> {
  const file = await folder.open(path);
  const data = new Uint8Array(file.size);
  const piece = 50_000;
  for (let from = Math.floor(file.size / piece) * piece; from >= 0; from -= piece) {
    data.set(await file.read(from, Math.min(from + piece, file.size)), from);
  }
  await file.close();
  return data;
}

/** Not `deepEqual`, which takes seconds to print what differs. */
function assertSame(found: Uint8Array, expected = DATA): void {
  assert.equal(found.length, expected.length);
  assert.equal(found.findIndex((v, i) => v !== expected[i]), -1);
}

async function assertFails(promise: Promise<unknown>, ...parts: (string | RegExp)[]): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof CheckpointError, `${error}`);
    for (const part of parts) assert.match(error.message, new RegExp(part));
    return true;
  });
}

test("a file is read by byte range, each chunk once, and nothing outside it", () =>
  withFolder({}, {}, async (folder, { seen, url }) => {
    assert.equal(await folder.has(BIG), true);
    assertSame(await readAll(folder));
    assert.deepEqual([...new Set(seen.map((s) => s.range))].sort(), seen.map((s) => s.range).sort());
    assert.equal(seen.length, 11);
    const file = await folder.open("small.json");
    assert.equal(file.name, `${url}small.json`);
    assertSame(await file.read(3, 90), DATA.subarray(3, 90));
    await assert.rejects(file.read(0, 101), RangeError);
    await file.close();
    assert.equal((await folder.open("empty")).size, 0);
  }));

test("tensors out of order are read from the chunks in memory, and these are bounded", async () => {
  for (const [memoryBytes, requests] of [[12 * CHUNK, 11], [CHUNK, 22]]) {
    await withFolder({}, { memoryBytes }, async (folder, { seen }) => {
      const file = await folder.open(BIG);
      for (let at = 0; at < DATA.length; at += CHUNK) await file.read(at, at + 1000);
      for (let at = 0; at < DATA.length; at += CHUNK) await file.read(at, at + 1000);
      await file.close();
      assert.equal(seen.length, requests);
    });
  }
});

test("what a server may do differently changes nothing", async () => {
  const cases: Record<string, Manners> = {
    "ranges are ignored": { noRanges: true },
    "ranges are ignored, no length": { noRanges: true, noLength: true },
    "compressed on the way": { gzip: true },
    "no length of a range": { noLength: true },
    "no Content-Range": { noContentRange: true },
    "a part of what was asked for": { most: 30_000 },
    "ranges only later": { noRanges: true, cut: (n) => n === 1 ? 100_000 : undefined },
    "no version": { validator: () => ({}) },
    "weak and strong ETags": { validator: (n) => ({ etag: n % 2 ? '"x"' : 'W/"x"' }) },
    "breaks off now and then": { cut: (n) => n % 2 ? 40_000 : undefined },
    "breaks off without ranges": { noRanges: true, cut: (n) => n < 4 ? n * 150_000 : undefined },
    "an error now and then": { status: (n) => n % 3 === 0 ? undefined : [503, 500, 429][n % 2] },
    "no answer the first time": { hang: (n) => n === 1 },
  };
  for (const [name, manners] of Object.entries(cases)) {
    await withFolder(manners, { stall: 300 }, async (folder, { seen }) => {
      assertSame(await readAll(folder));
      if (manners.noRanges && !manners.cut) assert.equal(seen.length, 1, name);
      assert.ok(seen.length < 40, `${name}: ${seen.length} requests`);
    }).catch((error) => {
      throw new Error(`${name}: ${error}`, { cause: error });
    });
  }
});

test("a connection that breaks goes on from there", () =>
  withFolder({ cut: (n) => n === 1 ? 20_000 : undefined }, {}, async (folder, { seen }) => {
    await (await folder.open("a/b c.bin")).read(0, 10);
    const again = /^bytes=(\d+)-65535$/.exec(seen[1].range!);
    assert.ok(Number(again?.[1]) > 0 && Number(again?.[1]) <= 20_000, seen[1].range);
  }));

test("a file that changes on the way is an error", async () => {
  const changed: Record<string, [Manners, RegExp]> = {
    "its ETag": [
      { validator: (n) => ({ etag: `"${n > 3}"` }) },
      /expected the version .* changed on the server/,
    ],
    "its date": [{ validator: (n) => ({ "last-modified": `${n > 3}` }) }, /changed on the server/],
    "its size": [
      { shorter: (n) => n > 3 ? 5 : 0 },
      /file of 656360 bytes that was begun, found one of 656355/,
    ],
    "without ranges": [
      { noRanges: true, validator: (n) => ({ etag: `"${n}"` }), cut: (n) => n === 1 ? 9999 : undefined },
      /changed on the server/,
    ],
    "it is gone": [
      { status: (n) => n > 3 ? 404 : undefined },
      /expected the rest of the file, found HTTP status 404/,
    ],
    "other bytes": [{ shift: 7 }, /expected bytes 0 to 65536, found bytes 7 to/],
  };
  for (const [name, [manners, message]] of Object.entries(changed)) {
    await withFolder(manners, {}, async (folder) => {
      await assert.rejects(readAll(folder), message, name);
    });
  }
});

test("what is not there is told apart from what cannot be had", async () => {
  await withFolder({}, {}, async (folder, { seen, url }) => {
    assert.equal(await folder.has("none.json"), false);
    assert.equal(folder.absence!("none.json"), "HTTP status 404");
    await assertFails(folder.open("none.json"), `Cannot read "${url}none.json"`, "found HTTP status 404$");
    assert.equal(seen.length, 1);
  });
  await withFolder({ status: () => 403 }, {}, async (folder) => {
    assert.equal(await folder.has("a"), false);
  });
  await withFolder({ html: () => true }, {}, async (folder) => {
    assert.equal(await folder.has(BIG), false);
    await assertFails(folder.open(BIG), "found a web page");
  });
  await withFolder({ status: () => 401 }, {}, async (folder) => {
    await assertFails(folder.has(BIG), "found HTTP status 401; a private model needs a token");
  });
  await withFolder({ status: () => 503 }, { attempts: 3 }, async (folder, { seen }) => {
    await assertFails(folder.has(BIG), "found HTTP status 503 after 3 attempts");
    assert.equal(seen.length, 3);
  });
  await withFolder({ cut: () => 0 }, { attempts: 2 }, async (folder) => {
    await assertFails(folder.has(BIG), "after 2 attempts");
  });
  await withFolder({ hang: () => true }, { attempts: 2, stall: 50 }, async (folder) => {
    await assertFails(folder.has(BIG), "found no answer for 0.05 s after 2 attempts");
  });
  const folder = await httpFolder("http://127.0.0.1:1/", { cache: false, attempts: 2, delay: 1 });
  await assertFails(folder.has(BIG), "127.0.0.1:1/a/b", "request failed", "after 2 attempts");
});

test("a redirect is followed, and takes no password to another host", async () => {
  const other = await serveFiles(FILES);
  try {
    // Another port is another origin.
    const manners: Manners = { redirect: (path) => other.url + encodeURI(path) };
    const server = await serveFiles(FILES, manners);
    try {
      const url = server.url.replace("//", "//user:s%40cret@");
      const folder = await httpFolder(`${url}?token=x`, { cache: false, chunkBytes: CHUNK });
      assert.equal(folder.name, server.url.slice(0, -1));
      assertSame(await readAll(folder));
      const basic = `Basic ${btoa("user:s@cret")}`;
      assert.deepEqual(new Set(server.seen.map((s) => s.authorization)), new Set([basic]));
      assert.deepEqual(new Set(other.seen.map((s) => s.authorization)), new Set([undefined]));
      // Neither the password nor the query is in what is said.
      await assert.rejects(folder.open("none"), (error) => !/cret|token/.test(`${error}`));
      await folder.close!();
    } finally {
      await server.close();
    }
  } finally {
    await other.close();
  }
});

test("a signal stops it: before, while it reads, while it waits to try again", async () => {
  await withFolder({}, { signal: AbortSignal.abort() }, async (folder, { seen }) => {
    await assert.rejects(folder.has(BIG), AbortError);
    assert.equal(seen.length, 0);
  });
  for (const manners of [{ hang: () => true }, { status: () => 503 }]) {
    const controller = new AbortController();
    await withFolder(manners, { signal: controller.signal, delay: 60_000 }, async (folder) => {
      setTimeout(() => controller.abort(), 50);
      await assert.rejects(folder.has(BIG), AbortError);
    });
  }
});

test("progress grows from nothing to the whole of each file", async () => {
  for (const manners of [{ cut: (n: number) => n === 2 ? 30_000 : undefined }, { noRanges: true }]) {
    const reports: LoadProgress[] = [];
    await withFolder(manners, { onProgress: (p) => reports.push(p) }, async (folder) => {
      await readAll(folder);
      await readAll(folder, "small.json");
    });
    const big = reports.filter((r) => r.file === BIG);
    assert.ok(big.length >= 5 && big.every((r) => r.total === DATA.length), JSON.stringify(big));
    assert.ok(big.every((r, i) => i === 0 || r.loaded > big[i - 1].loaded), JSON.stringify(big));
    assert.equal(big.at(-1)!.loaded, DATA.length);
    assert.deepEqual(reports.at(-1), { file: "small.json", loaded: 100, total: 100 });
  }
});

test("what was downloaded is not downloaded again, unless it changed", () =>
  inCacheDir(async (cacheDir) => {
    let version = "1";
    const manners: Manners = { validator: () => ({ etag: `"${version}"` }) };
    const server = await serveFiles(FILES, manners);
    const read = async () => {
      const folder = await httpFolder(server.url, { cacheDir, chunkBytes: CHUNK, memoryBytes: CHUNK });
      const before = server.seen.length;
      assertSame(await readAll(folder));
      await folder.close!();
      assert.deepEqual(folder.notes, []);
      return server.seen.slice(before).map((s) => s.method);
    };
    try {
      assert.equal((await read()).length, 11);
      assert.deepEqual(await read(), ["HEAD"]);
      // A chunk of another size is none.
      const [file] = await readdir(cacheDir);
      const [folder] = (await readdir(join(cacheDir, file))).filter((name) => name !== "version.json");
      assert.equal((await readdir(join(cacheDir, file, folder))).length, 11);
      await truncate(join(cacheDir, file, folder, "4"), 10);
      assert.deepEqual(await read(), ["HEAD", "GET"]);
      version = "2";
      assert.equal((await read()).length, 12);
      assert.deepEqual(await read(), ["HEAD"]);
      assert.equal((await readdir(join(cacheDir, file))).length, 2, "the old version is gone");
      manners.noHead = true;
      assert.deepEqual(await read(), ["HEAD", "GET"]);
    } finally {
      await server.close();
    }
  }));

test("a server that does not answer is done without where all is cached, and that is said", () =>
  inCacheDir(async (cacheDir) => {
    const manners: Manners = {};
    await withFolder(manners, { cache: true, cacheDir, attempts: 2 }, async (online, server) => {
      assertSame(await readAll(online));
      const open = () => httpFolder(server.url, { cacheDir, chunkBytes: CHUNK, attempts: 2, delay: 1 });
      manners.status = () => 503;
      server.seen.length = 0;
      const offline = await open();
      assertSame(await readAll(offline));
      assert.equal(server.seen.length, 2);
      assert.match(
        offline.notes!.join(),
        /^the model comes from the cache as it is there: .* HTTP status 503/,
      );
      assert.equal(await offline.has("small.json"), false);
      await assertFails(offline.open("small.json"), "found nothing in the cache, and a server that does not");
      await offline.close!();
      // Before anything else is known to be cached, it is an error.
      const other = await open();
      await assertFails(other.has("small.json"), "HTTP status 503 after 2 attempts");
      await other.close!();
      const stopped = await httpFolder(server.url, { cacheDir, signal: AbortSignal.abort() });
      await assert.rejects(stopped.has(BIG), AbortError);
    });
  }));

test("two that download into one cache do not disturb each other, and a stopped one is gone on with", () =>
  inCacheDir(async (cacheDir) => {
    await withFolder({}, { cache: true, cacheDir }, async (folder, server) => {
      const other = await httpFolder(server.url, { cacheDir, chunkBytes: CHUNK });
      const first = await other.open(BIG);
      await first.read(0, 1000);
      await other.close!();
      const third = await httpFolder(server.url, { cacheDir, chunkBytes: CHUNK });
      const before = server.seen.length;
      for (const data of await Promise.all([readAll(folder), readAll(third)])) assertSame(data);
      assert.ok(server.seen.length - before <= 22);
      assert.ok(
        !server.seen.slice(before).some((s) => s.method === "GET" && s.range!.startsWith("bytes=0-")),
      );
      await third.close!();
    });
  }));

test("a server without ranges fills the cache too, and keeps but a little in memory", () =>
  inCacheDir(async (cacheDir) => {
    const options = { cache: true, cacheDir, memoryBytes: CHUNK };
    await withFolder({ noRanges: true }, options, async (folder, { seen }) => {
      assertSame(await readAll(folder));
      assertSame(await readAll(folder));
      assert.deepEqual(seen.map((s) => s.method), ["GET", "HEAD"]);
    });
  }));

/** A browser's `Cache` with room for so many bytes. */
function fakeCache(room: number) {
  const entries = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    entries,
    match: (name: string) => Promise.resolve(entries.has(name) ? new Response(entries.get(name)) : undefined),
    keys: () => Promise.resolve([...entries.keys()].map((url) => ({ url }) as Request)),
    delete: (name: string) => Promise.resolve(entries.delete(name)),
    async put(name: string, response: Response) {
      const data = new Uint8Array(await response.arrayBuffer());
      const used = [...entries.values()].reduce((sum, { length }) => sum + length, 0);
      if (used + data.length > room) throw new DOMException("Quota exceeded.", "QuotaExceededError");
      entries.set(name, data);
    },
  };
}

test("a browser's cache keeps what fits its quota; what does not is said, and comes again", async () => {
  for (const [room, fits] of [[2 * DATA.length, true], [5 * CHUNK, false]] as const) {
    const cache = fakeCache(room);
    let version = "1";
    await withFolder({ validator: () => ({ etag: `"${version}"` }) }, {}, async (_, server) => {
      const read = async () => {
        server.seen.length = 0;
        const store = cacheStore(cache as unknown as Cache);
        const folder = await httpFolder(server.url, { store, chunkBytes: CHUNK });
        assertSame(await readAll(folder));
        assert.deepEqual(folder.notes, fits ? [] : ["the model is not cached in full: Quota exceeded."]);
        await folder.close!();
        return server.seen.filter((s) => s.method === "GET").length;
      };
      assert.equal(await read(), 11);
      const again = await read();
      assert.ok(fits ? again === 0 : again >= 6 && again < 11, `${again}`);
      const before = [...cache.entries.keys()].filter((name) => !name.endsWith("version"));
      version = "2";
      await read();
      assert.ok(before.every((name) => !cache.entries.has(name)), "the old version is gone");
    });
  }
});

test("a cache that cannot be kept is said, and the file is read all the same", () =>
  inCacheDir(async (cacheDir) => {
    await withFolder({ validator: () => ({}) }, { cache: true, cacheDir }, async (folder) => {
      assertSame(await readAll(folder));
      assert.deepEqual(folder.notes, [
        "the model is not cached in full: its server gives neither ETag nor Last-Modified",
      ]);
    });
    await withFolder({}, { cache: true, cacheDir: "/dev/null/none" }, async (folder) => {
      assertSame(await readAll(folder));
      assert.equal(folder.notes!.length, 1);
      assert.match(folder.notes![0], /^the model is not cached in full: /);
    });
  }));
