/** Which adapters are refused, and that errors say what went wrong and where. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createBackend } from "../../src/backend/mod.ts";
import { findAdapter, openDevice } from "../../src/backend/webgpu/adapter.ts";
import { createWebgpuBackend, WebgpuBackend, type WebgpuOptions } from "../../src/backend/webgpu/backend.ts";
import { GpuHost } from "../../src/backend/webgpu/host.ts";
import type { Kernel } from "../../src/backend/webgpu/runtime.ts";
import { DeviceError } from "../../src/errors.ts";
import { withGpu } from "../support/fake_gpu.ts";
import { GPU_TYPES, hasGpu } from "../support/gpu.ts";

const adapter = (info: Partial<GPUAdapterInfo>) => ({
  requestAdapter: () => Promise.resolve({ info, features: new Set(), limits: {} }),
});

const UNUSABLE: Record<string, [gpu: unknown, reason: RegExp]> = {
  "no adapter": [{ requestAdapter: () => Promise.resolve(null) }, /found no adapter/],
  "a null adapter": [adapter({ device: "null-backend" }), /found a null adapter/],
  "an adapter without a name": [{ requestAdapter: () => Promise.resolve({}) }, /found a null adapter/],
  "a request that fails": [
    { requestAdapter: () => Promise.reject(new Error("driver is ill")) },
    /driver is ill/,
  ],
};

for (const [name, [gpu, reason]] of Object.entries(UNUSABLE)) {
  test(`${name} is refused with the reason, and auto says it and uses the CPU`, async () => {
    await assert.rejects(
      createWebgpuBackend({ gpu: gpu as GPU }),
      (error) => error instanceof DeviceError && error.code === "ERR_DEVICE" && reason.test(error.message),
    );
    await withGpu(gpu, async () => {
      const b = await createBackend("auto", { threads: 1 });
      assert.equal(b.device, "cpu");
      if (!("Bun" in globalThis)) assert.match(b.description, reason);
      await b.dispose();
    });
  });
}

const never = () => new Promise<never>(() => {});

test("a driver that never answers is given up, whether asked for an adapter or for a device", async () => {
  const silent = {
    info: { description: "a silent GPU" },
    features: new Set(),
    limits: {},
    requestDevice: never,
  };
  for (
    const [gpu, what] of [
      [{ requestAdapter: never }, "an adapter"],
      [{ requestAdapter: () => Promise.resolve(silent) }, "a device"],
    ] as const
  ) {
    await assert.rejects(
      createWebgpuBackend({ gpu: gpu as unknown as GPU, startSeconds: 0.05 }),
      (error) => error instanceof DeviceError && error.message.includes(`waited 0.05 s for ${what}`),
    );
  }
});

/** What the self-test names, and a constant of the kernel to change. */
const BROKEN: Record<string, [from: string, to: string]> = {
  "matrix product of 2 rows": ["for (var j = 0u; j < WY", "for (var j = 1u; j < WY"],
  "matrix product of 40 rows": ["for (var q = 0u; q < BK4", "for (var q = 1u; q < BK4"],
  "merge": ["m = begin + 1u", "m = begin + 2u"],
};

async function using(body: (b: WebgpuBackend) => Promise<void>): Promise<void> {
  const b = await createWebgpuBackend({ f16: false });
  try {
    await body(b);
  } finally {
    await b.dispose();
  }
}

if (hasGpu) {
  const { software } = await findAdapter();

  if (software) {
    test("auto passes software adapters by, and says so", async () => {
      const b = await createBackend("auto", { threads: 1 });
      assert.equal(b.device, "cpu");
      assert.match(b.description, /expected a real one, found .*, which is software|no sign of a GPU/);
      await b.dispose();
      await assert.rejects(
        createWebgpuBackend({ realOnly: true }),
        /expected a real one, found .*, which is software/,
      );
    });
  }

  for (const [name, type] of Object.entries(GPU_TYPES)) {
    test(`one changed constant of a kernel makes the self-test refuse the device, ${name}`, async () => {
      for (const [what, [from, to]] of Object.entries(BROKEN)) {
        let changed = 0;
        const rewrite = (source: string) => {
          if (!source.includes(from)) return source;
          changed++;
          return source.replaceAll(from, to);
        };
        await assert.rejects(
          createWebgpuBackend({ ...type, rewrite }),
          (error) =>
            error instanceof DeviceError &&
            new RegExp(`its ${what}.* is wrong: expected`).test(error.message),
        );
        assert.ok(changed > 0);
      }
    });
  }

  test("subgroups are used where they work, and only there; the device's description says which and why", async () => {
    const described = async (options: WebgpuOptions) => {
      const b = await createWebgpuBackend({ f16: false, ...options });
      await b.dispose();
      return b.description;
    };
    // The drivers of these tests have them, which Deno does not list.
    assert.match(await described({}), /, subgroups of \d+( to \d+)?, f32$/);
    assert.match(await described({ subgroups: false }), /, no subgroups \(turned off\), f32$/);
    const wrong = (source: string) =>
      source.replace("let lower = subgroupExclusiveAdd(own)", "let lower = subgroupAdd(own)");
    assert.match(
      await described({ rewrite: wrong }),
      /, no subgroups \(a running sum is wrong: expected 0, found \d+\), f32$/,
    );
    const unknown = (source: string) => source.replaceAll("subgroupExclusiveAdd", "subgroupPreviousAdd");
    assert.match(
      await described({ rewrite: unknown }),
      /, no subgroups \(Cannot compile subgroup_check\.wgsl .*\), f32$/,
    );
  });

  const source = `
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read_write> y: array<F>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.count) { y[id.x] = x[id.x]; }
}
`;
  const copy: Kernel = { name: "copy_test", source };

  test("a shader that does not compile is named, with its line, and nothing is read after it", () =>
    using(async (b) => {
      const x = b.host.alloc([4]), y = b.host.alloc([4]);
      b.host.run({ name: "broken", source: source.replace("p.count", "p.amount") }, [4], [x, y], [1]);
      await assert.rejects(
        b.read(y),
        (error) =>
          error instanceof DeviceError && /broken\.wgsl.*amount/s.test(error.message) &&
          /8/.test(error.message),
      );
      assert.throws(() => b.upload(new Float32Array(1), [1]), /broken\.wgsl/);
    }));

  test("a device that never finishes is given up, and reads nothing from then on", async () => {
    const device = await openDevice(await findAdapter());
    const b = new WebgpuBackend(new GpuHost(device, { f16: false, readSeconds: 0.05 }), "a GPU that hangs");
    const createBuffer = device.createBuffer.bind(device);
    device.createBuffer = (descriptor) => Object.assign(createBuffer(descriptor), { mapAsync: never });
    try {
      const x = b.upload(new Float32Array([1]), [1]);
      await assert.rejects(b.read(x), { name: "DeviceError", message: /did not finish within 0.05 s/ });
      assert.throws(() => b.upload(new Float32Array([1]), [1]), /did not finish/);
    } finally {
      await b.dispose();
    }
  });

  test("a device gets all that its adapter has", async () => {
    const found = await findAdapter(), device = await openDevice(found);
    try {
      for (
        const limit of [
          "maxBufferSize",
          "maxStorageBufferBindingSize",
          "maxComputeWorkgroupStorageSize",
        ] as const
      ) {
        assert.equal(device.limits[limit], found.adapter.limits[limit], limit);
      }
      for (const feature of ["shader-f16", "timestamp-query"] as const) {
        assert.equal(device.features.has(feature), found.adapter.features.has(feature), feature);
      }
    } finally {
      device.destroy();
    }
  });

  test("what the device refuses is named with its shapes", async () => {
    await using(async (b) => {
      const x = b.host.alloc([2, 3]);
      b.host.run(copy, [4], [x], [1]);
      await assert.rejects(
        b.read(x),
        (error) => error instanceof DeviceError && /copy_test on \[2, 3\]/.test(error.message),
      );
    });
    await using((b) => {
      const x = b.host.alloc([2, 3]);
      assert.throws(
        () => b.host.run(copy, [4], [x, x], [1]),
        /copy_test on \[2, 3\], \[2, 3\]: expected an output/,
      );
      const y = b.host.alloc([2, 3]);
      assert.throws(
        () => b.host.run(copy, [4], [x, y], [1e6]),
        /copy_test on .*: expected 1 to 65535 workgroups/,
      );
      return Promise.resolve();
    });
  });

  test("a tensor beyond the device's limits is refused by their name", () =>
    using((b) => {
      assert.throws(
        () => b.empty([b.maxElements + 1]),
        (error) => error instanceof RangeError && error.message.includes(b.maxElementsReason.split(" ")[0]),
      );
      return Promise.resolve();
    }));

  test("a lost device is a DeviceError, to who waits and to who comes after", () =>
    using(async (b) => {
      const x = b.upload(new Float32Array([1]), [1]);
      await b.read(x);
      const reading = b.read(x);
      b.host.recorder.device.destroy();
      await assert.rejects(reading.then(() => b.read(x)), DeviceError);
      assert.throws(() => b.upload(new Float32Array([1]), [1]), DeviceError);
    }));
}
