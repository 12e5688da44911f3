import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ByteSource, fileSource, memorySource } from "../../src/checkpoint/source.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { CheckpointError } from "../../src/errors.ts";

/** A file from a header, verbatim if it is a text, and its data. */
function file(header: unknown, data: Uint8Array | number = 0, headerLength?: bigint): Uint8Array {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const head = header instanceof Uint8Array ? header : new TextEncoder().encode(text);
  const body = typeof data === "number" ? new Uint8Array(data) : data;
  const bytes = new Uint8Array(8 + head.length + body.length);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(head.length), true);
  bytes.set(head, 8);
  bytes.set(body, 8 + head.length);
  return bytes;
}

const open = (bytes: Uint8Array) => openSafetensors(memorySource("x.safetensors", bytes));
const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

async function refused(opened: Promise<unknown>, message: RegExp) {
  await assert.rejects(opened, (error: unknown) => {
    assert.ok(error instanceof CheckpointError, String(error));
    assert.equal(error.code, "ERR_CHECKPOINT");
    assert.match(error.message, message);
    assert.match(error.message, /^[^\n\r]{1,600}$/);
    assert.match(error.message, /^Cannot read ".*": expected .+, found .+$/);
    return true;
  });
}

test("a good file gives its tensors back, in memory, as a Blob and from disk", async () => {
  const data = Uint8Array.from({ length: 4 * 6 + 2 * 2 + 8 }, (_, i) => i * 7 + 1);
  // A header of odd length, so that the data is not aligned.
  let header = JSON.stringify({
    __metadata__: { format: "pt", "": "ü" },
    b: { dtype: "BF16", shape: [2, 1], data_offsets: [24, 28] },
    "a.weight": f32(0, 24, [2, 3]),
    list: { dtype: "I64", shape: [1], data_offsets: [28, 36] },
    none: { dtype: "F16", shape: [0, 4], data_offsets: [28, 28] },
    scalar_less: { dtype: "U8", shape: [3, 0], data_offsets: [36, 36] },
  });
  if (header.length % 2 === 0) header += " ";
  const bytes = file(header, data);
  const folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  const path = join(folder, "x.safetensors");
  await writeFile(path, bytes);
  try {
    for (
      const source of [
        memorySource("x", bytes),
        memorySource("x", new Blob([bytes as BlobPart])),
        await fileSource(path),
      ]
    ) {
      const opened = await openSafetensors(source);
      assert.deepEqual([...opened.metadata], [["format", "pt"], ["", "ü"]]);
      assert.deepEqual([...opened.tensors.keys()], ["b", "a.weight", "list", "none", "scalar_less"]);
      const a = await opened.read("a.weight");
      assert.deepEqual([a.name, a.dtype, a.shape], ["a.weight", "F32", [2, 3]]);
      assert.deepEqual([...a.data], [...data.subarray(0, 24)]);
      assert.equal(new Float32Array(a.data.buffer, a.data.byteOffset, 6).length, 6);
      assert.deepEqual([...(await opened.read("b")).data], [...data.subarray(24, 28)]);
      assert.equal((await opened.read("none")).data.length, 0);
      assert.deepEqual([...await opened.readBytes("list")], [...data.subarray(28)]);
      await assert.rejects(opened.read("list"), /Cannot load "list": expected F16, BF16 or F32, found I64/);
      await assert.rejects(opened.read("c"), /Cannot load "c": not in ".*x/);
      await opened.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("only the header and the tensors asked for are read", async () => {
  const reads: [number, number][] = [];
  const bytes = file({ a: f32(0, 4000), b: f32(4000, 8000), c: f32(8000, 12000) }, 12000);
  const inner = memorySource("x", bytes);
  const source: ByteSource = {
    ...inner,
    read: (from, to) => (reads.push([from, to]), inner.read(from, to)),
  };
  const opened = await openSafetensors(source);
  await opened.read("b");
  const start = bytes.length - 12000;
  assert.deepEqual(reads, [[0, 8], [8, start], [start + 4000, start + 8000]]);
});

test("an empty header is a file without tensors", async () => {
  assert.equal((await open(file({}))).tensors.size, 0);
});

const hostile: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ["no bytes", new Uint8Array(0), /at least 8 bytes, found 0/],
  ["7 bytes", new Uint8Array(7), /at least 8 bytes, found 7/],
  ["a header beyond the file", file({}, 0, 3n), /a header of 3 bytes, found only 2/],
  [
    "a header length of 100 MB and one",
    file({}, 0, 100_000_001n),
    /at most 100000000 bytes, found 100000001/,
  ],
  ["a header length of 2^63", file({}, 0, 1n << 63n), /at most 100000000 bytes, found 9223372036854775808/],
  ["a header length of 2^64 - 1", file({}, 0, (1n << 64n) - 1n), /found 18446744073709551615/],
  ["a header of no bytes", file("", 8), /starts with "\{", found nothing/],
  ["a pickle", file("PK\u0003\u0004"), /starts with "\{", found "P"/],
  ["an HTML page", new TextEncoder().encode("<!DOCTYPE html><html></html>"), /at most 100000000 bytes/],
  ["a byte order mark", file("\ufeff{}"), /starts with "\{", found/],
  ["white space first", file(" {}"), /starts with "\{", found " "/],
  ["not UTF-8", file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /UTF-8, found other bytes/],
  ["half of a character", file(Uint8Array.of(0x7b, 0x22, 0xe2, 0x82)), /UTF-8, found other bytes/],
  ["broken JSON", file(`{"a": `), /JSON, found/],
  ["JSON with a rest", file(`{} {}`), /JSON, found/],
  ["a comment", file(`{/* */}`), /JSON, found/],
  ["deep nesting", file(`{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`), /expected .+, found/],
  [
    "a duplicate tensor",
    file(`{"a":${JSON.stringify(f32(0, 4))},"a":${JSON.stringify(f32(0, 4))}}`, 4),
    /"a" twice/,
  ],
  [
    "a duplicate tensor, escaped",
    file(`{"a":${JSON.stringify(f32(0, 4))}, "\\u0061" :${JSON.stringify(f32(0, 4))}}`, 4),
    /"a" twice/,
  ],
  [
    "a duplicate field",
    file(`{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}`, 4),
    /"dtype" twice/,
  ],
  ["duplicate metadata", file(`{"__metadata__":{"a":"1","a":"2"}}`), /"a" twice/],
  ["metadata that is a list", file({ __metadata__: [] }), /__metadata__ to be an object, found \[\]/],
  ["metadata of numbers", file({ __metadata__: { a: 1 } }), /__metadata__ "a" to be a string, found 1/],
  ["a tensor named __proto__", file(`{"__proto__":${JSON.stringify(f32(0, 4))}}`, 4), /found "__proto__"/],
  ["a tensor that is a number", file({ a: 4 }), /"a" to be an object, found 4/],
  ["a tensor that is null", file({ a: null }), /"a" to be an object, found null/],
  ["a tensor that is a list", file({ a: [] }), /"a" to be an object, found \[\]/],
  ["an unknown field", file({ a: { ...f32(0, 4), strides: [1] } }, 4), /also "strides"/],
  ["no dtype", file({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /dtype of tensor "a" .* found nothing/],
  [
    "an unknown dtype",
    file({ a: { ...f32(0, 4), dtype: "F31" } }, 4),
    /dtype of tensor "a" .*F32.* found "F31"/,
  ],
  ["a dtype of Object", file({ a: { ...f32(0, 4), dtype: "constructor" } }, 4), /found "constructor"/],
  [
    "no shape",
    file({ a: { dtype: "F32", data_offsets: [0, 4] } }, 4),
    /shape of tensor "a" .* found nothing/,
  ],
  ["a shape that is a number", file({ a: f32(0, 4, 1) }, 4), /shape of tensor "a" .* found 1/],
  ["a negative shape", file({ a: f32(0, 4, [-1, -1]) }, 4), /shape of tensor "a" .* found \[-1, -1\]/],
  ["a fraction in a shape", file({ a: f32(0, 4, [0.5, 2]) }, 4), /shape of tensor "a" .* found \[0\.5, 2\]/],
  ["a text in a shape", file({ a: f32(0, 4, ["1"]) }, 4), /shape of tensor "a" .* found a list/],
  [
    "a shape beyond 2^53",
    file(`{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}`, 4),
    /shape/,
  ],
  [
    "a product beyond 2^53",
    file({ a: f32(0, 4, [2 ** 40, 2 ** 40]) }, 4),
    /whole number of bytes below 2\^53/,
  ],
  [
    "a product that wraps at 2^64",
    file({ a: f32(0, 0, [2 ** 32, 2 ** 32]) }),
    /whole number of bytes below 2\^53/,
  ],
  [
    "a shape of 1e999",
    file(`{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}`, 4),
    /found \[Infinity\]/,
  ],
  ["half a byte", file({ a: { dtype: "F4", shape: [1], data_offsets: [0, 1] } }, 1), /whole number of bytes/],
  ["no offsets", file({ a: { dtype: "F32", shape: [1] } }, 4), /data_offsets of tensor "a" .* found nothing/],
  ["one offset", file({ a: { ...f32(0, 4), data_offsets: [0] } }, 4), /two whole numbers, found \[0\]/],
  ["three offsets", file({ a: { ...f32(0, 4), data_offsets: [0, 4, 4] } }, 4), /two whole numbers/],
  [
    "a negative offset",
    file({ a: { ...f32(0, 4), data_offsets: [-4, 0] } }, 4),
    /two whole numbers, found \[-4, 0\]/,
  ],
  [
    "a negative zero",
    file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}`, 4),
    /two whole numbers/,
  ],
  ["a fractional offset", file({ a: { ...f32(0, 4), data_offsets: [0, 4.5] } }, 4), /two whole numbers/],
  ["offsets as texts", file({ a: { ...f32(0, 4), data_offsets: ["0", "4"] } }, 4), /two whole numbers/],
  [
    "an offset beyond 2^53",
    file({ a: { ...f32(0, 4), data_offsets: [0, 2 ** 60] } }, 4),
    /two whole numbers/,
  ],
  [
    "offsets that descend",
    file({ a: { ...f32(0, 4), data_offsets: [4, 0] } }, 4),
    /to ascend, found \[4, 0\]/,
  ],
  [
    "offsets that do not match the shape",
    file({ a: f32(0, 8, [1]) }, 8),
    /F32 \[1\] to have 4 bytes, found .*8 bytes/,
  ],
  ["offsets past the end", file({ a: f32(0, 8) }, 4), /end within the 4 bytes of data, found 8/],
  [
    "a hole at the start",
    file({ a: f32(4, 8) }, 8),
    /begin at byte 0 of the data, found 4, which leaves a hole/,
  ],
  [
    "a hole between",
    file({ a: f32(0, 4), b: f32(8, 12) }, 12),
    /"b" to begin at byte 4 .* after "a", found 8/,
  ],
  [
    "an overlap",
    file({ a: f32(0, 8), b: f32(4, 12) }, 12),
    /"b" to begin at byte 8 .* found 4, which overlaps/,
  ],
  ["one range twice", file({ a: f32(0, 8), b: f32(0, 8) }, 8), /begin at byte 8 .* found 0, which overlaps/],
  ["bytes after the last tensor", file({ a: f32(0, 4) }, 5), /4 bytes of data, found 5/],
  ["data without tensors", file({}, 16), /0 bytes of data, found 16/],
  [
    "a name that would break the line or steer a terminal",
    file({ ["a\n\u001b[2J\u009b\u2028" + "x".repeat(5000)]: 4 }),
    /"a\\n\\u001b\[2J\\u009b\\u2028x+…" to be an object/,
  ],
];

for (const [name, bytes, message] of hostile) {
  test(`refused: ${name}`, () => refused(open(bytes), message));
}

test("refused: truncated at every byte", async () => {
  const bytes = file({ __metadata__: { format: "pt" }, a: f32(0, 8), b: f32(8, 20) }, 20);
  for (let length = 0; length < bytes.length; length++) {
    await refused(open(bytes.subarray(0, length)), /expected/);
  }
  assert.equal((await open(bytes)).tensors.size, 2);
});

test("any one byte of the header changed gives a file or a CheckpointError, never another error", async () => {
  const bytes = file({ __metadata__: { format: "pt" }, a: f32(0, 8), b: f32(8, 20) }, 20);
  const outcomes = { opened: 0, refused: 0 };
  for (let at = 0; at < bytes.length - 20; at++) {
    for (const value of [0, 0x22, 0x2c, 0x39, 0x7d, 0xff]) {
      const changed = bytes.slice();
      changed[at] = value;
      await open(changed).then(() => outcomes.opened++, (error) => {
        assert.ok(error instanceof CheckpointError, String(error));
        outcomes.refused++;
      });
    }
  }
  assert.ok(outcomes.refused > 500, JSON.stringify(outcomes));
});

test("a header of 20 MB of quotes and braces is refused in bounded memory", async () => {
  await refused(open(file(`{"a":"${'\\"{'.repeat(6_000_000)}"}`)), /"a" to be an object, found "/);
});

test("refused on disk: nothing there, a folder, a file that shrinks while it is read", async () => {
  const folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  try {
    await refused(fileSource(join(folder, "none")), /expected a file, found nothing there/);
    await refused(fileSource(folder), /expected a file, found a folder/);
    const path = join(folder, "x.safetensors");
    await writeFile(path, file({ a: f32(0, 8000) }, 8000));
    const opened = await openSafetensors(await fileSource(path));
    await truncate(path, 100);
    await refused(opened.read("a"), /expected 80\d\d bytes, found that it ends at 100 now/);
    await opened.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});
