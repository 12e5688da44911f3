// Run by exit_test.ts: computes on threads, disposes if told to, and must then end by itself.
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";

const backend = await createWasmBackend({ threads: 3 });
const x = backend.upload(new Float32Array(4096).fill(2), [64, 64]);
console.log((await backend.read(backend.lincomb([[3, x]])))[4095]);
if (globalThis.process.argv.includes("dispose")) await backend.dispose();
