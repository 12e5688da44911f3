import type { Backend, NormWeight, Tensor, Weight } from "../backend/backend.ts";

/**
 * Layers on one large image, computed in strips of rows: nothing but a layer's input and output is ever held
 * whole. A strip sees its neighbours' rows, and normalisation takes its statistics from the whole image, so
 * the result is, bit for bit, that of one piece.
 *
 * Feature maps here are `[1, H, W, C]`.
 */
export interface StripOptions {
  groups: number;
  eps: number;
  /** The most elements of a strip's intermediate tensors. */
  stripElements: number;
}

/** Rows `from` to `to` of an image, as an image. */
export function strip(b: Backend, x: Tensor, from: number, to: number): Tensor {
  const [, height, width, channels] = x.shape;
  return b.reshape(b.rows(b.reshape(x, [height, width, channels]), from, to), [
    1,
    to - from,
    width,
    channels,
  ]);
}

/** Calls `body` for consecutive strips, each in its own scope. */
export function forEachStrip(
  b: Backend,
  { height, rowElements, stripElements }: { height: number; rowElements: number; stripElements: number },
  body: (from: number, to: number) => void,
): void {
  const rows = Math.max(1, Math.min(height, Math.floor(stripElements / rowElements)));
  for (let from = 0; from < height; from += rows) b.scope(() => body(from, Math.min(height, from + rows)));
}

/** conv3×3(silu(groupNorm(x))) + residual, into `target`, which may be the residual itself. */
export function normConv(
  b: Backend,
  x: Tensor,
  { norm, conv, target, residual, ...options }: StripOptions & {
    norm: NormWeight;
    conv: Weight;
    target: Tensor;
    /** The residual's rows `from` to `to`. */
    residual?: (from: number, to: number) => Tensor;
  },
): void {
  const [, height, width, channels] = x.shape;
  b.scope(() => {
    const scaleShift = b.groupNormAffine(x, norm, options);
    const rowElements = width * Math.max(channels, conv.cout);
    forEachStrip(b, { height, rowElements, stripElements: options.stripElements }, (from, to) => {
      const above = from > 0 ? 1 : 0, below = to < height ? 1 : 0;
      const h = b.affine(strip(b, x, from - above, to + below), scaleShift, { silu: true });
      const pad = [1 - above, 1, 1 - below, 1] as const;
      const wholeRows = height * width;
      const y = b.conv2d(h, conv, { pad, residual: residual?.(from, to), wholeRows });
      b.write(strip(b, target, from, to), y);
    });
  });
}

/** conv3×3(nearest 2×(x)), `[1, H, W, C]` → `[1, 2H, 2W, C']`. */
export function upsampleConv(
  b: Backend,
  x: Tensor,
  { conv, stripElements }: { conv: Weight; stripElements: number },
): Tensor {
  const [, height, width, channels] = x.shape;
  const target = b.empty([1, 2 * height, 2 * width, conv.cout]);
  const rowElements = 4 * width * Math.max(channels, conv.cout);
  forEachStrip(b, { height, rowElements, stripElements }, (from, to) => {
    const above = from > 0 ? 1 : 0, below = to < height ? 1 : 0;
    const rows = to + below - (from - above);
    const wide = b.upsample(strip(b, x, from - above, to + below), 2 * rows, 2 * width);
    // Of a neighbour's two rows, one is seen.
    const seen = strip(b, wide, above, 2 * rows - below);
    const pad = [1 - above, 1, 1 - below, 1] as const;
    const y = b.conv2d(seen, conv, { pad, wholeRows: 4 * height * width });
    b.write(strip(b, target, 2 * from, 2 * to), y);
  });
  return target;
}
