import type { Picture, Stats } from "../pipeline/options.ts";

/** A picture to hand out. */
export interface DrawnPicture extends Picture {
  data: Uint8ClampedArray<ArrayBuffer>;
  seed: number;
  /** The size that the network drew; it was scaled from there. */
  drawn: { width: number; height: number };
  /** Text chunks, `parameters` among them. */
  text: Record<string, string>;
}

/** What a job made. */
export interface Drawing {
  pictures: DrawnPicture[];
  /** One for each pass. */
  stats: Stats[];
  warnings: string[];
}
