/** Token merging and the embedded model in Cloudflare's runtime. `docs/edge.md` says how to run it and what fits. */
import {
  bipartiteSoftMatchingRandom2d,
  createBackend,
  loadPipeline,
  type Pipeline,
} from "../../src/workerd.ts"; // for you: "tome-edge/workerd"

interface Env {
  /** Where the model's folder lies, such as a bucket: https://models.example.org/emoji/ */
  MODEL: string;
}

/** One for all requests of an isolate: there is memory for one. */
let pipeline: Promise<Pipeline> | undefined;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const number = (name: string, otherwise?: number) => Number(searchParams.get(name) ?? otherwise);
    try {
      switch (pathname) {
        case "/merge": { // tokens [N, C] in, [N - r, C] out, f32
          const [width, height, channels, r] = ["width", "height", "channels", "r"].map((name) =>
            number(name)
          );
          const x = new Float32Array(await request.arrayBuffer());
          const backend = await createBackend("cpu");
          const plan = await bipartiteSoftMatchingRandom2d(backend, x, {
            batch: 1,
            width,
            height,
            channels,
            r,
          });
          return new Response(await plan.merge(x, channels) as Float32Array<ArrayBuffer>);
        }
        case "/draw": {
          pipeline ??= loadPipeline(env.MODEL).catch((error) => {
            pipeline = undefined;
            throw error;
          });
          const { images } = await (await pipeline).generate({
            prompt: searchParams.get("prompt") ?? "a 3d icon of a red apple",
            seed: number("seed", 1),
            steps: number("steps", 25),
            width: 64,
            height: 64,
            tokenMerging: { ratio: number("ratio", 0) },
          });
          return new Response(images[0].png(), { headers: { "content-type": "image/png" } });
        }
        default:
          return new Response("/merge or /draw\n", { status: 404 });
      }
    } catch (error) {
      return new Response(`${error}\n`, { status: error instanceof RangeError ? 400 : 500 });
    }
  },
};
