/** What a WebGPU device can do at most: multiply-adds on registers, and a copy. */
/** One thread: 8 chains of vec4 multiply-adds, 4 at a time; the operands come from memory, so that none is folded. */
const PEAK_WGSL = `
struct Params { rounds: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = x[0];
  let b = x[1];
  var c0 = x[2]; var c1 = x[3]; var c2 = x[4]; var c3 = x[5];
  var c4 = x[6]; var c5 = x[7]; var c6 = x[8]; var c7 = x[9];
  for (var i = 0u; i < p.rounds; i++) {
${
  Array.from({ length: 4 }, () =>
    "    " + Array.from({ length: 8 }, (_, c) => `c${c} = fma(c${c}, a, b);`).join(" ")).join("\n")
}
  }
  y[id.x] = ((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7));
}`;
const FLOPS_PER_ROUND = 4 * 8 * 4 * 2;

const COPY_WGSL = `
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let step = groups.x * 256u;
  for (var i = id.x; i < p.count; i += step) { y[i] = x[i]; }
}`;

const UNIFORM = 64, STORAGE = 128, COPY_DST = 8;

/** A dispatch that can be repeated, and its work in floating-point operations or bytes. */
export interface PeakLoop {
  /** Submits `times` dispatches. */
  submit(times: number): void;
  readonly work: number;
}

async function prepare(
  d: GPUDevice,
  { code, word, groups, bytes, work }: {
    code: string;
    word: number;
    groups: number;
    bytes: { x: number; y: number };
    work: number;
  },
): Promise<PeakLoop> {
  const module = d.createShaderModule({ code, label: "peak" });
  const pipeline = await d.createComputePipelineAsync({
    layout: "auto",
    compute: { module, entryPoint: "main" },
  });
  const params = d.createBuffer({ size: 16, usage: UNIFORM | COPY_DST });
  d.queue.writeBuffer(params, 0, new Uint32Array([word, 0, 0, 0]));
  const x = d.createBuffer({ size: bytes.x, usage: STORAGE | COPY_DST });
  d.queue.writeBuffer(x, 0, new Float32Array(64).fill(0.5));
  const y = d.createBuffer({ size: bytes.y, usage: STORAGE });
  const bindGroup = d.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [params, x, y].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  return {
    work,
    submit(times) {
      const encoder = d.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      for (let i = 0; i < times; i++) pass.dispatchWorkgroups(groups);
      pass.end();
      d.queue.submit([encoder.finish()]);
    },
  };
}

/** The copy is of 32 MiB: more than the caches near the cores hold. */
export async function peakLoops(device: GPUDevice): Promise<{ peak: PeakLoop; copy: PeakLoop }> {
  const rounds = 16, groups = 1024, threads = 256 * groups, bytes = 32 << 20;
  return {
    peak: await prepare(device, {
      code: PEAK_WGSL,
      word: rounds,
      groups,
      bytes: { x: 256, y: 16 * threads },
      work: FLOPS_PER_ROUND * rounds * threads,
    }),
    copy: await prepare(device, {
      code: COPY_WGSL,
      word: bytes / 16,
      groups: 2048,
      bytes: { x: bytes, y: bytes },
      work: 2 * bytes,
    }),
  };
}
