import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { encodePng } from "../../src/image/png.ts";
import { resizePicture } from "../../src/image/resize.ts";
import { HttpError } from "../../src/server/errors.ts";
import { encodeImage, IMAGE_FORMATS } from "../../src/server/images/encode.ts";
import { Pictures } from "../../src/server/images/pictures.ts";
import { startPictureWorker } from "../../src/server/images/start_worker.ts";

const LIMITS = { maxPixels: 100_000 };
const TEXT = { parameters: "ein süßer Apfel 🍎\nSteps: 4, Seed: 1" };

function picture(width = 48, height = 32) {
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let p = 0; p < data.length; p += 4) data[p] = p % 251;
  return { width, height, data };
}

/** Starts what is in `scripts`, one after the other, and then the real one. */
function starting(...scripts: string[]) {
  const starts = { count: 0 };
  const start = () => {
    starts.count++;
    const script = scripts.shift();
    return script === undefined ? startPictureWorker() : new Worker(script, { eval: true });
  };
  return { starts, start };
}
/** Answers the first message, and does `then` at the second. */
const DYING = (then: string) => `
const { parentPort } = require("node:worker_threads");
let first = true;
parentPort.on("message", () => {
  if (!first) { ${then} }
  first = false;
  parentPort.postMessage({ type: "done", output: "well" });
});
parentPort.postMessage({ type: "ready" });
`;

test("the worker writes and reads the same files, and keeps no picture from who has it", async () => {
  const { starts, start } = starting();
  const pictures = new Pictures({ start, log: (line) => assert.fail(line) });
  await pictures.load();
  const image = picture();
  for (const format of IMAGE_FORMATS) {
    const bytes = await pictures.encode(image, { format, text: TEXT });
    assert.deepEqual(bytes, await encodeImage(image, { format, text: TEXT }), format);
    if (format === "png") assert.deepEqual(bytes, encodePng(image, { text: TEXT }));
    const { data, parameters } = await pictures.decode(bytes, LIMITS);
    assert.equal(parameters, TEXT.parameters);
    if (format === "png") assert.deepEqual(data, image.data);
    assert.equal(bytes.length, 0, "the bytes of an upload move to the worker");
  }
  const size = { width: 20, height: 50 };
  assert.deepEqual(await pictures.resize(image, size), resizePicture(image, size));
  assert.equal(image.data.length, 48 * 32 * 4);
  const ofEngine = { ...image, text: TEXT, png: () => encodePng(image) };
  assert.deepEqual(await pictures.resize(ofEngine, size), resizePicture(image, size));
  await pictures.close();
  assert.equal(starts.count, 1);
  // An answer may still be under way.
  assert.deepEqual(await pictures.encode(image, { format: "png" }), encodePng(image));
  assert.equal(starts.count, 1);
});

test("errors come back as what they were", async () => {
  const pictures = new Pictures();
  const large = { maxPixels: 48 * 32 - 1 };
  await assert.rejects(pictures.decode(encodePng(picture()), large), {
    name: "RangeError",
    message: "Cannot read the PNG: expected at most 1535 pixels, found 48x32",
  });
  await assert.rejects(pictures.decodeBase64("R0lGODlh", LIMITS), {
    name: "TypeError",
    message: "Cannot read a picture: expected a PNG, JPEG or WebP file, found something else",
  });
  await assert.rejects(pictures.encode({ ...picture(), width: 47 }, { format: "png" }), RangeError);
  await pictures.close();
});

for (
  const [how, then, reason] of [
    ["throws", `throw new Error("by itself")`, /by itself/],
    ["exits", `process.exit(3)`, /it ended with 3/],
    ["hangs", `for (;;);`, /it took more than 1 s/],
  ] as const
) {
  test(`a worker that ${how} fails one picture with a 500; the next has a new worker`, async () => {
    const { starts, start } = starting(DYING(then));
    const pictures = new Pictures({ start, maxSeconds: how === "hangs" ? 1 : 60 });
    await pictures.load();
    const [lost, next] = await Promise.allSettled([
      pictures.encode(picture(), { format: "png" }),
      pictures.encode(picture(), { format: "png" }),
    ]);
    assert(lost.status === "rejected" && lost.reason instanceof HttpError);
    assert.deepEqual([lost.reason.status, lost.reason.code], [500, "picture_worker"]);
    assert.match(String(lost.reason.cause), reason);
    assert(next.status === "fulfilled");
    assert.deepEqual(next.value, encodePng(picture()));
    assert.equal(starts.count, 2);
    await pictures.close();
  });
}

test("where no worker starts, pictures are made in place, and the log says so once", async () => {
  const { start } = starting(`throw new Error("no such place")`);
  for (const [begin, why] of [[start, /no such place/], [() => undefined, /no worker threads/]] as const) {
    const log: string[] = [];
    const pictures = new Pictures({ start: begin, log: (line) => log.push(line) });
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await pictures.encode(picture(), { format: "png" }), encodePng(picture()));
    }
    assert.equal(log.length, 1);
    assert.match(JSON.parse(log[0]).message, why);
    await pictures.close();
  }
});

test("uploads wait in a queue that has an end; what a job made is always taken", async () => {
  const pictures = new Pictures({ maxUploads: 2 });
  const upload = () => pictures.decode(encodePng(picture()), LIMITS);
  const taken = [upload(), upload(), upload()];
  await assert.rejects(upload(), { status: 429, code: "queue_full", headers: { "retry-after": "1" } });
  taken.push(pictures.resize(picture(), { width: 3, height: 3 }) as never);
  assert.deepEqual((await Promise.all(taken)).map(({ width }) => width), [48, 48, 48, 3]);
  await upload();
  await pictures.close();
});
