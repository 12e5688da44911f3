import { encodePng } from "../../src/image/png.ts";

/** The CRC of PNG's chunks. */
function crc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  }
  return ~c >>> 0;
}

/** A small PNG whose header, with the right checksum, says that it is 60 000 pixels square. */
export function hugePng(): Uint8Array<ArrayBuffer> {
  const png = encodePng({ width: 1, height: 1, data: new Uint8ClampedArray(4) });
  const view = new DataView(png.buffer);
  view.setUint32(16, 60_000);
  view.setUint32(20, 60_000);
  view.setUint32(29, crc(png.subarray(12, 29)));
  return png;
}
