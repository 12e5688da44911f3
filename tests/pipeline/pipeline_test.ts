import assert from "node:assert/strict";
import test from "node:test";
import {
  AbortError,
  applyPatch,
  type GenerateOptions,
  type GenerateResult,
  type Image,
  loadPipeline,
  type MergeMap,
  type Pipeline,
  removePatch,
} from "../../src/mod.ts";
import { psnr } from "../../src/image/metrics.ts";
import { decodePng } from "../../src/image/png.ts";

const PROMPT = "a 3d icon of a red apple on a sky blue background";
const QUICK: GenerateOptions = { prompt: PROMPT, seed: 11, steps: 4 };

async function withPipeline(body: (pipe: Pipeline) => Promise<void>, options = {}): Promise<void> {
  const pipe = await loadPipeline(undefined, { device: "cpu", ...options });
  try {
    await body(pipe);
  } finally {
    await pipe.dispose();
  }
}

const bytes = ({ images }: GenerateResult, i = 0) => images[i].png();

test("a patch changes the picture, and taking it off restores every byte", () =>
  withPipeline(async (pipe) => {
    const plain = await pipe.generate(QUICK);
    assert.ok(plain.stats.tokens.length === 0 && plain.stats.ceiling === 1);
    applyPatch(pipe, { ratio: 0.3 });
    const merged = await pipe.generate(QUICK);
    assert.notDeepEqual(bytes(merged), bytes(plain));
    applyPatch(pipe, { ratio: 0.5, mergeMlp: true, maxDownsample: 2 });
    const more = await pipe.generate(QUICK);
    assert.notDeepEqual(more.images[0].data, merged.images[0].data);
    assert.deepEqual(
      bytes(await pipe.generate({ ...QUICK, tokenMerging: null })),
      bytes(plain),
      "null overrides the patch",
    );
    removePatch(pipe);
    assert.deepEqual(bytes(await pipe.generate(QUICK)), bytes(plain));
    applyPatch(pipe, { ratio: 0.3 });
    assert.deepEqual(bytes(await pipe.generate(QUICK)), bytes(merged), "and once more");
  }));

test("stats tell what merging did", () =>
  withPipeline(async (pipe) => {
    const plain = await pipe.generate(QUICK);
    const merged = await pipe.generate({ ...QUICK, tokenMerging: { ratio: 0.5 } });
    const top = merged.stats.tokens.filter((t) => t.before === 576);
    assert.equal(top.length, 3);
    for (const t of top) assert.equal(t.after, 288, t.name);
    for (const t of merged.stats.tokens.filter((t) => t.before < 576)) {
      assert.equal(t.after, t.before, t.name);
    }

    const core = (r: GenerateResult, block: string) =>
      r.stats.layers.find((l) => l.kind === "attention" && l.name === `${block}.attn1`)!.multiplyAdds;
    for (const { name, before, after } of merged.stats.tokens) {
      assert.equal(core(merged, name) / core(plain, name), (after / before) ** 2, name);
    }
    const sum = (r: GenerateResult) => r.stats.layers.reduce((a, l) => a + l.multiplyAdds, 0);
    assert.equal(sum(merged), merged.stats.multiplyAdds);
    assert.equal(merged.stats.ceiling, plain.stats.multiplyAdds / merged.stats.multiplyAdds);
    assert.ok(merged.stats.ceiling > 1.05 && merged.stats.ceiling < 1.12, `${merged.stats.ceiling}`);
    assert.equal(merged.stats.networkCalls, 4);
    assert.equal(merged.stats.stepSeconds.length, 4);
    assert.ok(merged.stats.peakBytes > 1e6);
  }));

test("nothing is left over from a run", () =>
  withPipeline(async (pipe) => {
    const { images: [image] } = await pipe.generate(QUICK);
    const mask = { ...image, data: image.data.map((_, i) => i % 96 < 48 ? 255 : 0) };
    const runs: Partial<GenerateOptions>[] = [
      { tokenMerging: { ratio: 0.5 } },
      { sampler: "euler_a", n: 2 },
      { sampler: "pndm", image, mask },
      { sampler: "dpm++_2m", image, strength: 0.5 },
    ];
    const peaks = async () => {
      const found: number[] = [];
      for (const options of runs) found.push((await pipe.generate({ ...QUICK, ...options })).stats.peakBytes);
      return found;
    };
    assert.deepEqual(await peaks(), await peaks());
  }));

test("a picture of several is the picture drawn alone", () =>
  withPipeline(async (pipe) => {
    const options = { ...QUICK, tokenMerging: { ratio: 0.5, mergeCrossAttn: true } };
    const three = await pipe.generate({ ...options, n: 3 });
    for (let i = 0; i < 3; i++) {
      const alone = await pipe.generate({ ...options, seed: 11 + i });
      assert.deepEqual(bytes(three, i), bytes(alone), `picture ${i}`);
    }
    const ancestral = { ...options, sampler: "euler_a" };
    const two = await pipe.generate({ ...ancestral, n: 2 });
    assert.deepEqual(bytes(two, 1), bytes(await pipe.generate({ ...ancestral, seed: 12 })));
  }));

test("more pictures than a batch holds are drawn in several", () =>
  withPipeline(async (pipe) => {
    const options = { ...QUICK, steps: 1, width: 192, height: 192 }; // 2304 latent pixels: two a batch
    const indices: number[] = [];
    const three = await pipe.generate({ ...options, n: 3, onStep: (s) => indices.push(s.index, s.total) });
    assert.deepEqual(indices, [1, 2, 2, 2]);
    assert.equal(three.images.length, 3);
    assert.deepEqual(bytes(three, 2), bytes(await pipe.generate({ ...options, seed: 13 })));
  }));

test("aborting at step 3 of 50 costs at most four network calls, and the next picture is a fresh process's", () =>
  withPipeline(async (pipe) => {
    const controller = new AbortController();
    const stopped = pipe.generate({
      ...QUICK,
      steps: 50,
      signal: controller.signal,
      onStep: (step) => step.index === 3 && controller.abort(),
    });
    const error = await stopped.then(() => assert.fail("it went on"), (e) => e);
    assert.ok(error instanceof AbortError && error.name === "AbortError", `${error}`);
    const calls = Number(/after (\d+) network calls/.exec(error.message)?.[1]);
    assert.ok(calls >= 3 && calls <= 4, error.message);

    const after = await pipe.generate(QUICK);
    await withPipeline(async (fresh) => assert.deepEqual(bytes(after), bytes(await fresh.generate(QUICK))));

    const aborted = AbortSignal.abort();
    await assert.rejects(pipe.generate({ ...QUICK, signal: aborted }), AbortError);
  }));

test("leaving the loop of steps stops the run", () =>
  withPipeline(async (pipe) => {
    for await (const step of pipe.steps({ ...QUICK, steps: 200 })) if (step.index === 2) break;
    assert.equal((await pipe.generate(QUICK)).images.length, 1);
  }));

test("runs wait for each other, keep their own options, and may leave the queue", () =>
  withPipeline(async (pipe) => {
    const order: string[] = [];
    const controller = new AbortController();
    const run = (name: string, options: Partial<GenerateOptions>) =>
      pipe.generate({ ...QUICK, ...options }).then(
        (r) => (order.push(name), r),
        (e) => (order.push(`${name}: ${e.name}`), undefined),
      );
    applyPatch(pipe, { ratio: 0.5 });
    const first = run("first", {});
    removePatch(pipe);
    const second = run("second", {});
    const third = run("third", { signal: controller.signal });
    const fourth = run("fourth", { tokenMerging: { ratio: 0.25 } });
    controller.abort();
    const [a, b, , d] = await Promise.all([first, second, third, fourth]);
    assert.deepEqual(order, ["third: AbortError", "first", "second", "fourth"]);
    const after = (r?: GenerateResult) => r!.stats.tokens[0]?.after;
    assert.deepEqual([after(a), after(b), after(d)], [288, undefined, 432]);
  }));

test("the worker leaves the caller's thread free, and gives the same bytes as this thread", () =>
  withPipeline(async (pipe) => {
    let ticks = 0;
    const between: number[] = [];
    const timer = setInterval(() => ticks++, 1);
    const inWorker = await pipe.generate({
      ...QUICK,
      width: 192,
      height: 192,
      onStep: () => {
        between.push(ticks);
        ticks = 0;
      },
    });
    clearInterval(timer);
    // A step of this size takes a tenth of a second and more.
    for (const n of between) assert.ok(n >= 5, `only ${n} timer ticks before a step's message`);
    await withPipeline(async (here) => {
      const inPlace = await here.generate({ ...QUICK, width: 192, height: 192 });
      assert.deepEqual(bytes(inPlace), bytes(inWorker));
    }, { worker: false });
  }));

test("previews become the picture", () =>
  withPipeline(async (pipe) => {
    const previews: Image[][] = [];
    let result: GenerateResult | undefined;
    for await (const step of pipe.steps({ ...QUICK, steps: 8, n: 2 })) {
      previews.push(step.preview());
      result = step.result;
    }
    assert.equal(previews.length, 8);
    for (let i = 0; i < 2; i++) {
      const image = result!.images[i];
      assert.deepEqual([previews[0][i].width, previews[0][i].height], [96, 96]);
      const first = psnr(previews[0][i], image), final = psnr(previews[7][i], image);
      assert.ok(final > first && final > 14, `${first} dB, then ${final} dB`);
    }
  }));

test("any size in multiples of the factor", () =>
  withPipeline(async (pipe) => {
    for (const [width, height] of [[4, 4], [100, 36], [20, 132]]) {
      const { images: [image] } = await pipe.generate({
        ...QUICK,
        steps: 2,
        width,
        height,
        tokenMerging: { ratio: 0.5 },
      });
      assert.deepEqual([image.width, image.height, image.data.length], [width, height, width * height * 4]);
    }
  }));

test("every sampler draws", () =>
  withPipeline(async (pipe) => {
    const pictures = new Set<string>();
    const samplers = ["ddim", "pndm", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm"];
    for (const sampler of samplers) {
      const result = await pipe.generate({ ...QUICK, sampler });
      pictures.add(result.images[0].data.join());
      assert.equal(result.stats.sampler, sampler);
    }
    assert.equal(pictures.size, samplers.length);
  }));

test("seed, guidance, negative prompt and noise source matter; arrays of the caller stay theirs", () =>
  withPipeline(async (pipe) => {
    const variants: Partial<GenerateOptions>[] = [
      {},
      { seed: 12 },
      { guidanceScale: 1 },
      { guidanceScale: 3 },
      { negativePrompt: "red" },
      { noise: "philox" },
    ];
    const seen = new Set<string>();
    for (const variant of variants) {
      seen.add((await pipe.generate({ ...QUICK, ...variant })).images[0].data.join());
    }
    assert.equal(seen.size, variants.length);
    const { images: [image] } = await pipe.generate(QUICK);
    const data = image.data.slice();
    await pipe.generate({ ...QUICK, image, strength: 0.5 });
    assert.deepEqual(image.data, data);
  }));

test("at strength 1 image to image starts from the image's trace and inpainting from noise, as in diffusers", () =>
  withPipeline(async (pipe) => {
    const { images: [image] } = await pipe.generate({ ...QUICK, seed: 12 });
    const mask = { width: 96, height: 96, data: new Uint8ClampedArray(4 * 96 * 96).fill(255) };
    const fromImage = await pipe.generate({ ...QUICK, image, strength: 1 });
    const fromNoise = await pipe.generate({ ...QUICK, image, mask, strength: 1 });
    assert.notDeepEqual(fromImage.images[0].data, fromNoise.images[0].data);
  }));

test("the PNG carries its parameters and the attribution of the model's art", () =>
  withPipeline(async (pipe) => {
    const { images: [image] } = await pipe.generate({ ...QUICK, tokenMerging: { ratio: 0.25 } });
    const { text, data } = decodePng(image.png());
    assert.deepEqual(data, image.data);
    assert.match(text.parameters, /^a 3d icon of a red apple/);
    assert.match(
      text.parameters,
      /Steps: 4, Sampler: DDIM, .*Seed: 11, Size: 96x96.*Token merging ratio: 0\.25/,
    );
    assert.match(text.Copyright, /Twemoji.*CC-BY 4\.0/);
  }));

test("options that cannot be used are refused by name", () =>
  withPipeline(async (pipe) => {
    const image = { width: 96, height: 96, data: new Uint8Array(96 * 96 * 4) };
    const cases: [Partial<Record<keyof GenerateOptions, unknown>>, ErrorConstructor, RegExp][] = [
      [{ prompt: 5 }, TypeError, /prompt: expected a string, found 5/],
      [{ width: 98 }, RangeError, /width 98: expected a multiple of 4/],
      [{ height: 0 }, RangeError, /height 0: expected 4 to/],
      [{ steps: 0 }, RangeError, /steps 0: expected 1 to 1000/],
      [{ steps: 2.5 }, RangeError, /steps 2.5: expected a whole number/],
      [{ steps: "20" }, TypeError, /steps: expected a number, found "20"/],
      [{ seed: NaN }, RangeError, /seed NaN/],
      [{ seed: -1 }, RangeError, /seed -1/],
      [{ guidanceScale: Infinity }, RangeError, /guidanceScale Infinity/],
      [{ sampler: "magic" }, RangeError, /expected one of ddim, .*found "magic"/],
      [{ n: 0 }, RangeError, /n 0: expected 1 to 64/],
      [{ noise: "pink" }, RangeError, /noise "pink"/],
      [{ mask: image }, TypeError, /mask without image/],
      [
        { image: { ...image, width: 48 }, width: 96 },
        RangeError,
        /image of 48x96: expected the size to draw, 96x96/,
      ],
      [{ image: { ...image, data: new Uint8Array(3) } }, RangeError, /expected 36864 bytes of RGBA, found 3/],
      [{ image, strength: 0 }, RangeError, /strength 0: expected above 0 and at most 1/],
      [{ image, strength: 1.5 }, RangeError, /strength 1.5/],
      [{ tokenMerging: { ratio: 0.8 } }, RangeError, /0\.75/],
      [{ tokenMerging: { ratio: 0.6, sx: 1 } }, RangeError, /0\.5/],
      [{ tokenMerging: { ration: 0.5 } }, TypeError, /ration/],
      [{ tokenMerging: { ratio: NaN } }, RangeError, /ratio/],
    ];
    for (const [options, type, message] of cases) {
      await assert.rejects(pipe.generate({ ...QUICK, ...options } as GenerateOptions), (e: Error) => {
        assert.ok(e instanceof type, `${JSON.stringify(options)}: ${e}`);
        assert.match(e.message, message);
        return true;
      });
    }
    assert.throws(() => applyPatch(pipe, { ratio: 0.8 }), /0\.75/);
    assert.equal(
      (await pipe.generate({ ...QUICK, steps: 1 })).images.length,
      1,
      "and the pipeline is still of use",
    );
  }));

test("a disposed pipeline says so", async () => {
  const pipe = await loadPipeline(undefined, { device: "cpu" });
  await pipe.dispose();
  await assert.rejects(pipe.generate(QUICK), /disposed/);
  await pipe.dispose();
});

test("merge maps: one for each block that merges, step and picture, at no cost to the picture", () =>
  withPipeline(async (pipe) => {
    const options = { ...QUICK, steps: 2, n: 2, tokenMerging: { ratio: 0.5 } };
    const plain = await pipe.generate(options);
    const steps: MergeMap[][] = [];
    const mapped = await pipe.generate({
      ...options,
      mergeMaps: true,
      onStep: (step) => steps.push(step.mergeMaps!),
    });
    assert.deepEqual(mapped.images[0].data, plain.images[0].data);
    assert.equal(steps.length, 2);
    for (const maps of steps) {
      const merged = mapped.stats.tokens.filter((t) => t.after < t.before);
      const names = merged.flatMap(({ name }) => [`${name} 0`, `${name} 1`]);
      assert.deepEqual(maps.map(({ name, image }) => `${name} ${image}`), names);
      for (const { width, height, r, into } of maps) {
        assert.deepEqual([width, height, r, into.length], [24, 24, 288, 576]);
        const gone = [...into.keys()].filter((token) => into[token] !== token);
        assert.equal(gone.length, r);
        const cells = gone.map((token) => {
          const [y, x] = [Math.floor(into[token] / width), into[token] % width];
          assert.equal(into[into[token]], into[token], "what was merged into stays");
          return `${y >> 1} ${x >> 1} ${into[token]}`;
        });
        const destinations = new Set(cells);
        const places = new Set([...destinations].map((c) => c.split(" ", 2).join(" ")));
        assert.equal(places.size, destinations.size, "a cell of two by two has one destination");
      }
    }
    assert.notDeepEqual(steps[0][0].into, steps[1][0].into, "destinations are drawn anew in every step");
    assert.notDeepEqual(steps[0][0].into, steps[0][1].into);
    await pipe.generate({ ...options, onStep: (step) => assert.equal(step.mergeMaps, undefined) });
    await assert.rejects(pipe.generate({ ...options, mergeMaps: 1 as unknown as boolean }), /mergeMaps/);
  }));
