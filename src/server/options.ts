import type { ModelsOptions } from "./models.ts";

/**
 * How a server is run; what is absent has the default of `DEFAULTS`.
 *
 * @example
 * ```ts
 * import { type ServerOptions, Service } from "tome-edge/server";
 *
 * const options: ServerOptions = { apiKey: "secret", maxPixels: 512 * 512, maxWaiting: 4, log: console.log };
 * const service = await Service.start(options);
 * await service.close();
 * ```
 */
export interface ServerOptions extends ModelsOptions {
  /** Jobs that may wait beside the one that runs. */
  maxWaiting?: number;
  /** Seconds that a job may run. */
  maxSeconds?: number;
  /** Pixels of one picture. */
  maxPixels?: number;
  /** Denoising steps of one picture. */
  maxSteps?: number;
  /** Pictures of one request. */
  maxImages?: number;
  /** Characters of a prompt. */
  maxPromptLength?: number;
  /** Bytes of a request's body. */
  maxBodyBytes?: number;
  /** Pictures that one client may ask for in a minute; 0 for no limit. */
  imagesPerMinute?: number;
  /** Asked for as a Bearer token or as the password of Basic; none by default. */
  apiKey?: string;
  /** Origins that pages may call from ("*" for all); none by default. */
  corsOrigins?: readonly string[];
  /** What URLs of pictures begin with, behind a proxy; the request's own origin by default. */
  publicUrl?: string;
  /** Seconds that pictures are kept for fetching. */
  fileSeconds?: number;
  /** Bytes of pictures that are kept for fetching; the oldest go first. */
  fileBytes?: number;
  /** Log prompts too. */
  logPrompts?: boolean;
  /** Takes a line of the log, JSON; nothing is logged by default. */
  log?: (line: string) => void;
}

export const DEFAULTS = {
  maxWaiting: 16,
  maxSeconds: 600,
  maxPixels: 1024 * 1024,
  maxSteps: 150,
  maxImages: 16,
  maxPromptLength: 4000,
  maxBodyBytes: 32 * 1024 * 1024,
  imagesPerMinute: 0,
  corsOrigins: [] as readonly string[],
  fileSeconds: 3600,
  fileBytes: 256 * 1024 * 1024,
  logPrompts: false,
};

export type Settled = ServerOptions & typeof DEFAULTS;
