/**
 * Compiles asm/ into asm/pkg/: `deno task build:asm`. With `--check` nothing is written; it fails if the
 * committed files are not what the sources give.
 */
import * as asc from "assemblyscript/asc";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import process from "node:process";

const root = new URL("./", import.meta.url);
const common = [
  "index.ts",
  "--runtime=stub",
  "--importMemory",
  "--noAssert",
  "--use=abort=",
  "--memoryBase=1024",
  "--enable=simd",
  "-O3",
  "--converge",
];
const fast = ["--enable=relaxed-simd"];
const shared = ["--enable=threads", "--sharedMemory", "--initialMemory=2", "--maximumMemory=65536"];
const single = ["--disable=threads", "--initialMemory=2"];

const variants: Record<string, string[]> = {
  "kernels.fast": [...common, ...fast, ...shared],
  "kernels.strict": [...common, ...shared],
  "kernels.fast.single": [...common, ...fast, ...single],
  "kernels.strict.single": [...common, ...single],
};

async function compile(name: string, flags: string[]): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const stdout = asc.createMemoryStream();
  const stderr = asc.createMemoryStream();
  const result = await asc.main([...flags, `--outFile=${name}.wasm`], {
    stdout,
    stderr,
    readFile: (path: string, base: string) => readFile(new URL(path, new URL(`${base}/`, root)), "utf8").catch(() => null),
    writeFile: (path: string, contents: Uint8Array | string) => {
      files.set(path, typeof contents === "string" ? new TextEncoder().encode(contents) : contents);
    },
    listFiles: () => [],
  });
  if (result.error) throw new Error(`Cannot compile ${name}:\n${stderr.toString()}`);
  return files;
}

const wasmTypes: Record<number, string> = { 0x7f: "number", 0x7e: "bigint", 0x7d: "number", 0x7c: "number" };

/** The exported functions of a module with their types: the sections that say so, read by hand. */
function declarations(bytes: Uint8Array): string {
  let at = 8;
  const leb = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const types: string[] = [];
  const functions: number[] = [];
  const lines: string[] = [];
  while (at < bytes.length) {
    const id = bytes[at++];
    const end = leb() + at;
    if (id === 1) {
      for (let n = leb(); n > 0; n--) {
        at++;
        const params = Array.from({ length: leb() }, (_, i) => `a${i}: ${wasmTypes[bytes[at++]]}`).join(", ");
        const results = Array.from({ length: leb() }, () => wasmTypes[bytes[at++]]);
        types.push(`(${params}): ${results[0] ?? "void"}`);
      }
    } else if (id === 3) {
      for (let n = leb(); n > 0; n--) functions.push(leb());
    } else if (id === 7) {
      for (let n = leb(); n > 0; n--) {
        const length = leb();
        const name = new TextDecoder().decode(bytes.subarray(at, at += length));
        const kind = bytes[at++];
        const index = leb();
        // Imports would shift the numbers of functions: there are none but the memory.
        if (kind === 0) lines.push(`  ${name}${types[functions[index]]};`);
      }
    }
    at = end;
  }
  return `/** Exports of every kernels*.wasm; see asm/README.md. Written by asm/build.ts. */
export interface Kernels {
${lines.sort().join("\n")}
}
`;
}

const outputs = new Map<string, Uint8Array>();
for (const [name, flags] of Object.entries(variants)) {
  for (const [file, bytes] of await compile(name, flags)) outputs.set(file, bytes);
}
const text = new TextEncoder();
outputs.set("kernels.d.ts", text.encode(declarations(outputs.get("kernels.fast.wasm")!)));
outputs.set(
  "package.json",
  text.encode(
    JSON.stringify(
      {
        name: "tome-edge-kernels",
        private: true,
        type: "module",
        license: "MIT",
        main: "kernels.fast.wasm",
        types: "kernels.d.ts",
        files: [...Object.keys(variants).map((name) => `${name}.wasm`), "kernels.d.ts"],
      },
      null,
      2,
    ) + "\n",
  ),
);

const check = process.argv.includes("--check");
const stale: string[] = [];
await mkdir(new URL("pkg/", root), { recursive: true });
for (const [file, bytes] of outputs) {
  const url = new URL(`pkg/${file}`, root);
  if (!check) {
    await writeFile(url, bytes);
    console.log(`asm/pkg/${file} ${bytes.length} bytes`);
    continue;
  }
  const found: Uint8Array = await readFile(url).catch(() => new Uint8Array());
  if (found.length !== bytes.length || !found.every((byte, i) => byte === bytes[i])) stale.push(`asm/pkg/${file}`);
}
if (stale.length > 0) {
  console.error(`Out of date: ${stale.join(", ")}. Run "deno task build:asm" and commit the result.`);
  process.exit(1);
}
