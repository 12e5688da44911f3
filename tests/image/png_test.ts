import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { deflateSync } from "node:zlib";
import { decodePng, encodePng, type RgbaImage } from "../../src/image/png.ts";
import { type Chunk, readChunks, writeChunks } from "../../src/image/png_chunks.ts";

const goldens = JSON.parse(await readFile(new URL("goldens.json", import.meta.url), "utf8"));
const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));

function picture(width: number, height: number, alpha: (i: number) => number = () => 255): RgbaImage {
  const data = Uint8ClampedArray.from(
    { length: width * height * 4 },
    (_, i) => i % 4 === 3 ? alpha(i >> 2) : ((i >> 2) * 7 + (i % 4) * 50 + (i >> 5) ** 2) % 256,
  );
  return { width, height, data };
}

test("what is written is read back, opaque as RGB, else as RGBA", () => {
  for (const [width, height] of [[1, 1], [1, 7], [7, 1], [8, 8], [97, 33]]) {
    for (const alpha of [() => 255, (i: number) => i % 3 * 100, () => 0]) {
      const image = picture(width, height, alpha);
      const file = encodePng(image);
      const decoded = decodePng(file);
      assert.deepEqual([decoded.width, decoded.height, decoded.text], [width, height, {}]);
      assert.deepEqual(decoded.data, image.data);
      assert.equal(readChunks(file)[0].data[9], image.data.every((v, i) => i % 4 !== 3 || v === 255) ? 2 : 6);
    }
  }
});

test("the bytes are the same on every runtime", () => {
  const image = picture(96, 96);
  for (let i = 0; i < image.data.length; i += 4) image.data[i] = Math.imul(i, 2654435761) >>> 24;
  const file = encodePng(image, { text: { parameters: "a cat 🐈", Software: "x" } });
  // What Deno wrote; a change of fflate or of the filters changes it.
  assert.equal(
    createHash("sha256").update(file).digest("hex"),
    "764f6da57984200733f4f18d164c3736647045457648e9d17d95e5465abee85c",
  );
});

test("texts come back, Latin-1 as tEXt and others as iTXt, before the pixels", () => {
  const text = {
    parameters: 'a "café"\nNegative prompt: x\nSteps: 20',
    Comment: "日本語 🍎 \u2028 and more",
    "Two words": "",
    control: "a\u001bb",
    __proto_: "x",
  };
  const file = encodePng(picture(2, 2), { text });
  assert.deepEqual(decodePng(file).text, text);
  assert.deepEqual(readChunks(file).map((chunk) => chunk.type), [
    "IHDR",
    "tEXt",
    "iTXt",
    "tEXt",
    "iTXt",
    "tEXt",
    "IDAT",
  ]);
  assert.equal(decodePng(encodePng(picture(1, 1), { text: { a: "x\0y" } })).text.a, "x\ufffdy");
  const own = JSON.parse('{"__proto__": "polluted"}');
  assert.equal(
    Object.getOwnPropertyDescriptor(decodePng(encodePng(picture(1, 1), { text: own })).text, "__proto__")
      ?.value,
    "polluted",
  );
});

test("names of texts and sizes of pictures are checked", () => {
  for (const name of ["", "x".repeat(80), " x", "x ", "x\0y", "日本"]) {
    assert.throws(() => encodePng(picture(1, 1), { text: { [name]: "" } }), RangeError, name);
  }
  const image = picture(2, 2);
  for (
    const wrong of [{ width: 0 }, { width: 3 }, { height: 1.5 }, { width: -2, height: -2 }, { width: NaN }]
  ) {
    assert.throws(() => encodePng({ ...image, ...wrong }), {
      name: "RangeError",
      message: /expected width · height · 4/,
    });
  }
});

// Goldens: Pillow's files; make them again with make_goldens.py beside this file.
for (
  const [name, { png, rgba }] of Object.entries(goldens.pngs as Record<string, { png: string; rgba: string }>)
) {
  test(`read as Pillow wrote it: ${name}`, () => {
    const decoded = decodePng(bytesOf(png));
    assert.deepEqual([...decoded.data], [...bytesOf(rgba)]);
    if (name === "rgb with text") {
      assert.deepEqual(decoded.text, {
        parameters: "a cat\nSteps: 20, Sampler: DDIM",
        Comment: "café 🍎 日本語",
        zipped: "x".repeat(300),
      });
    }
  });
}

const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [
  0,
  1,
  1,
  2,
]];
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

interface Format {
  width: number;
  height: number;
  depth: number;
  colour: number;
  interlaced?: boolean;
}

function header({ width, height, depth, colour, interlaced }: Format): Chunk {
  const data = new Uint8Array(13);
  new DataView(data.buffer).setUint32(0, width);
  new DataView(data.buffer).setUint32(4, height);
  data.set([depth, colour, 0, 0, interlaced ? 1 : 0], 8);
  return { type: "IHDR", data };
}

/** Unfiltered rows of samples, packed as the format says. */
function pack(format: Format, sample: (x: number, y: number, c: number) => number): Uint8Array {
  const { width, height, depth, colour, interlaced } = format;
  const bytes: number[] = [];
  for (const [x0, y0, dx, dy] of interlaced ? ADAM7 : [[0, 0, 1, 1]]) {
    if (x0 >= width) continue;
    for (let y = y0; y < height; y += dy) {
      bytes.push(0);
      let bits = "";
      for (let x = x0; x < width; x += dx) {
        for (let c = 0; c < CHANNELS[colour]; c++) bits += sample(x, y, c).toString(2).padStart(depth, "0");
      }
      for (let i = 0; i < bits.length; i += 8) bytes.push(parseInt(bits.slice(i, i + 8).padEnd(8, "0"), 2));
    }
  }
  return Uint8Array.from(bytes);
}

const file = (...chunks: Chunk[]) => writeChunks([...chunks, { type: "IEND", data: new Uint8Array(0) }]);
const idat = (raw: Uint8Array): Chunk => ({ type: "IDAT", data: new Uint8Array(deflateSync(raw)) });

test("every kind of pixel of every depth, plain and interlaced", () => {
  for (
    const [colour, depths] of [[0, [1, 2, 4, 8, 16]], [2, [8, 16]], [3, [1, 2, 4, 8]], [4, [8, 16]], [6, [
      8,
      16,
    ]]] as const
  ) {
    for (const depth of depths) {
      for (const interlaced of [false, true]) {
        for (const [width, height] of [[1, 1], [5, 3], [9, 10]]) {
          const top = 2 ** depth - 1;
          const sample = (x: number, y: number, c: number) => (x * 8123 + y * 4001 + c * 977) % (top + 1);
          const format = { width, height, depth, colour, interlaced };
          const palette = Uint8Array.from({ length: 3 * Math.min(256, top + 1) }, (_, i) => (i * 37) % 256);
          const chunks = [
            header(format),
            ...(colour === 3 ? [{ type: "PLTE", data: palette }] : []),
            idat(pack(format, sample)),
          ];
          const { data } = decodePng(file(...chunks));
          for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
              const v = (c: number) => Math.round(sample(x, y, c) * 255 / top);
              const expected = colour === 3
                ? [...palette.subarray(3 * sample(x, y, 0), 3 * sample(x, y, 0) + 3), 255]
                : colour === 0
                ? [v(0), v(0), v(0), 255]
                : colour === 4
                ? [v(0), v(0), v(0), v(1)]
                : [v(0), v(1), v(2), colour === 6 ? v(3) : 255];
              const at = (y * width + x) * 4;
              assert.deepEqual([...data.subarray(at, at + 4)], expected, JSON.stringify({ ...format, x, y }));
            }
          }
        }
      }
    }
  }
});

const good = encodePng(picture(8, 8), { text: { a: "b" } });
const rgb8 = { width: 8, height: 8, depth: 8, colour: 2 };
const raw = (bytes: number) => idat(new Uint8Array(bytes));
const RAW8 = 8 * (1 + 8 * 3);

const hostile: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ["nothing", new Uint8Array(0), /its signature, found 0 bytes/],
  ["a JPEG", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 0x10, 0x4a, 0x46), /its signature, found another/],
  ["a signature only", good.subarray(0, 8), /a chunk IEND, found the end at byte 8/],
  ["a chunk beyond the file", good.map((v, i) => i === 8 ? 0x7f : v), /a chunk IHDR of 2130706445 bytes/],
  ["a wrong checksum", good.map((v, i) => i === 20 ? v ^ 1 : v), /the checksum of chunk IHDR, found another/],
  ["a name that is none", good.map((v, i) => i === 12 ? 0x31 : v), /four letters, found "1HDR"/],
  ["no header", file(raw(RAW8)), /a chunk IHDR first, found IDAT/],
  ["no chunks", file(), /a chunk IHDR first, found nothing/],
  ["a short header", file({ type: "IHDR", data: new Uint8Array(12) }), /a chunk IHDR first/],
  ["width 0", file(header({ ...rgb8, width: 0 }), raw(8)), /width and height from 1, found 0x8/],
  ["height 2^31", file(header({ ...rgb8, height: 2 ** 31 }), raw(8)), /width and height from 1/],
  ["colour type 5", file(header({ ...rgb8, colour: 5 }), raw(RAW8)), /colour type 5 of 8 bits/],
  ["RGB of 4 bits", file(header({ ...rgb8, depth: 4 }), raw(RAW8)), /colour type 2 of 4 bits/],
  [
    "compression method 1",
    file({ type: "IHDR", data: header(rgb8).data.map((v, i) => i === 10 ? 1 : v) }, raw(RAW8)),
    /methods 0 0 0 or 0 0 1, found 1 0 0/,
  ],
  ["no pixels", file(header(rgb8)), /a chunk IDAT, found none/],
  ["too few pixels", file(header(rgb8), raw(RAW8 - 1)), /200 unpacked bytes, found 199/],
  ["too many pixels", file(header(rgb8), raw(RAW8 + 1)), /at most 200 unpacked bytes, found more/],
  ["a bomb of 64 MB", file(header(rgb8), raw(1 << 26)), /at most 200 unpacked bytes, found more/],
  ["no zlib data", file(header(rgb8), { type: "IDAT", data: new Uint8Array(50) }), /zlib data, found/],
  [
    "cut zlib data",
    file(header(rgb8), { type: "IDAT", data: raw(RAW8).data.subarray(0, 5) }),
    /expected .*, found/,
  ],
  ["filter 5", file(header(rgb8), idat(new Uint8Array(RAW8).fill(5))), /a filter from 0 to 4, found 5/],
  [
    "a palette picture without palette",
    file(header({ ...rgb8, colour: 3 }), raw(8 * 9)),
    /a palette, found none/,
  ],
  [
    "a palette of 257",
    file(header({ ...rgb8, colour: 3 }), { type: "PLTE", data: new Uint8Array(771) }, raw(72)),
    /at most 256 colours, found 771 bytes/,
  ],
  [
    "a colour beyond the palette",
    file(
      header({ ...rgb8, colour: 3 }),
      { type: "PLTE", data: new Uint8Array(3) },
      idat(pack({ ...rgb8, colour: 3 }, () => 1)),
    ),
    /colours 0 to 0, found 1/,
  ],
  [
    "an unknown chunk that is needed",
    file(header(rgb8), { type: "ABCD", data: new Uint8Array(0) }, raw(RAW8)),
    /ABCD/,
  ],
];

for (const [name, bytes, message] of hostile) {
  test(`refused: ${name}`, () => {
    assert.throws(() => decodePng(bytes), {
      name: "TypeError",
      message: /^Cannot read the PNG: expected [^\n]+, found [^\n]+$/,
    });
    assert.throws(() => decodePng(bytes), { message });
  });
}

test("refused before it is unpacked: more pixels than allowed", () => {
  const large = file(header({ ...rgb8, width: 2 ** 31 - 1, height: 2 ** 31 - 1 }), raw(8));
  assert.throws(() => decodePng(large), {
    name: "RangeError",
    message: "Cannot read the PNG: expected at most 16777216 pixels, found 2147483647x2147483647",
  });
  assert.throws(() => decodePng(good, { maxPixels: 63 }), {
    name: "RangeError",
    message: /at most 63 pixels, found 8x8/,
  });
  assert.equal(decodePng(good, { maxPixels: 64 }).width, 8);
});

test("refused: truncated at every byte", () => {
  for (let length = 0; length < good.length; length++) {
    assert.throws(() => decodePng(good.subarray(0, length)), TypeError);
  }
});

test("texts that are malformed or unpack to megabytes are left out, the picture is read", () => {
  const bomb = deflateSync(new Uint8Array(1 << 25));
  const text = (type: string, head: string, body: Uint8Array): Chunk => ({
    type,
    data: Uint8Array.from([...head].map((c) => c.charCodeAt(0)).concat([...body])),
  });
  const none = new Uint8Array(0);
  const decoded = decodePng(file(
    header(rgb8),
    text("zTXt", "bomb\0\0", bomb),
    text("iTXt", "bomb2\0\u0001\0\0\0", bomb),
    text("zTXt", "noise\0\0", Uint8Array.of(1, 2, 3)),
    text("iTXt", "short\0", none),
    text("iTXt", "utf8\0\0\0\0\0", Uint8Array.of(0xff)),
    text("tEXt", "no end", none),
    text("tEXt", "\0no name", none),
    text("tEXt", "fine\0yes", none),
    raw(RAW8),
  ));
  assert.deepEqual(decoded.text, { fine: "yes" });
});
