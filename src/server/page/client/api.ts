import { EventSourceParserStream } from "eventsource-parser/stream";
import type { ModelInfo, Stats as EngineStats } from "../../../pipeline/options.ts";
import type { MergeMap } from "../../../tome/merge_map.ts";
import type { Request } from "./settings.ts";

/** What the server says of a picture's making; as on the wire, less what the page does not show. */
export interface Stats {
  device: string;
  sampler: string;
  steps: number;
  seconds: EngineStats["seconds"];
  step_seconds: number[];
  tokens: EngineStats["tokens"];
  multiply_adds: number;
  ceiling: number;
}

/** A picture with all that was asked for and told. */
export interface Drawn {
  /** Of its job. */
  id: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  request: Request & { seed: number };
  /** The PNG file. */
  bytes: Uint8Array<ArrayBuffer>;
  width: number;
  height: number;
  stats: Stats;
  warnings: string[];
}

export interface Step {
  index: number;
  total: number;
  progress: number;
  secondsLeft: number | null;
  /** Data URL. */
  preview?: string;
  maps: MergeMap[];
}

export interface Model {
  id: string;
  loaded: boolean;
  info?: ModelInfo;
}

/** An answer of the server's that is no picture, or none at all. */
export class Problem extends Error {
  override readonly name = "Problem";
  constructor(readonly status: number, detail: string, readonly param?: string) {
    super(detail);
  }
}

/** Fields that the form can show a message at, as the wire calls them; `token_merging` for what it holds. */
const FIELDS = new Set(
  ("prompt negative_prompt model width height steps guidance_scale sampler seed " +
    "token_merging ratio sx sy max_downsample").split(" "),
);

/** With the field at fault. What the engine refuses names it in its message alone, in the engine's spelling. */
function toProblem(body: { status?: number; detail?: string; param?: string }, status: number): Problem {
  const detail = body.detail ?? `The server answered ${status}`;
  const named = /^Cannot use ([\w.]+)/.exec(detail)?.[1] ?? "";
  const fields = [named, body.param ?? ""].map((path) =>
    path.slice(path.lastIndexOf(".") + 1).replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
  );
  return new Problem(body.status ?? status, detail, fields.find((field) => FIELDS.has(field)));
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "The server does not answer: is it still running?");
  }
  if (!answer.ok) throw toProblem(await answer.json().catch(() => ({})), answer.status);
  return answer;
}

export async function models(): Promise<Model[]> {
  return (await (await ask("/models")).json()).models;
}

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

export interface Follow {
  mergeMaps: boolean;
  /** Breaks the connection, after which the server stops the job. */
  signal: AbortSignal;
  onJob(id: string): void;
  onQueued(position: number, secondsLeft: number | null): void;
  onStep(step: Step): void;
}

/** Draws one picture, and tells how it goes. Throws a `Problem`, or an AbortError. */
export async function generate(
  request: Request,
  { mergeMaps, signal, onJob, onQueued, onStep }: Follow,
): Promise<Drawn> {
  const answer = await ask("/generate", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({ ...request, previews: true, merge_maps: mergeMaps }),
    signal,
  });
  onJob(answer.headers.get("tome-edge-job")!);
  const events = answer.body!.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const reader = events.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
    signal.throwIfAborted();
    if (done) throw new Problem(0, "The connection to the server broke before the picture was done");
    const data = JSON.parse(value!.data);
    switch (value!.event) {
      case "queued":
        onQueued(data.position, data.seconds_left);
        break;
      case "step":
        onStep({
          index: data.index,
          total: data.total,
          progress: data.progress,
          secondsLeft: data.seconds_left,
          preview: data.preview?.[0],
          maps: (data.merge_maps ?? []).map((map: MergeMap & { into: string }) => ({
            ...map,
            into: new Int32Array(bytesOf(map.into).buffer),
          })),
        });
        break;
      case "done": {
        const { id, images: [image], stats, warnings } = data;
        return {
          id,
          createdAt: Date.now(),
          request: { ...request, seed: image.seed },
          bytes: bytesOf(image.b64_json),
          width: image.width,
          height: image.height,
          stats,
          warnings,
        };
      }
      case "error":
        throw toProblem(data, data.status);
    }
  }
}

/** Stops a job within one step, and resolves when it is over. One that the server no longer knows is over. */
export async function cancel(id: string): Promise<void> {
  await ask(`/jobs/${id}`, { method: "DELETE" }).catch((error) => {
    if (!(error instanceof Problem && error.status === 404)) throw error;
  });
}
