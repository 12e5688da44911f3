import type { MergeMap } from "../../../tome/merge_map.ts";
import { groupColour, type Rgb } from "./groups.ts";

export type Style = "groups" | "mosaic" | "lines";

/** Pixels of a canvas for each token: whole ones, so that cells have sharp edges, and enough for fine screens. */
function cellSize({ width, height }: MergeMap): number {
  return Math.max(4, Math.ceil(1024 / Math.max(width, height)));
}

function begin(canvas: HTMLCanvasElement, map: MergeMap) {
  const size = cellSize(map);
  canvas.width = map.width * size;
  canvas.height = map.height * size;
  const ctx = canvas.getContext("2d")!;
  const cell = (token: number) => [token % map.width * size, Math.floor(token / map.width) * size] as const;
  return { ctx, size, cell };
}

/** The whole map: what belongs together has one colour, what stayed by itself has none. */
export function drawMap(
  canvas: HTMLCanvasElement,
  map: MergeMap,
  { groups, style, means }: {
    groups: ReadonlyMap<number, number[]>;
    style: Style;
    means: ReadonlyMap<number, Rgb>;
  },
): void {
  const { ctx, size, cell } = begin(canvas, map);
  if (style === "lines") {
    drawLines(canvas, map, groups);
    return;
  }
  let index = 0;
  for (const [to, members] of groups) {
    ctx.fillStyle = style === "mosaic" ? `rgb(${means.get(to)!.join(" ")})` : groupColour(index++);
    for (const token of [to, ...members]) ctx.fillRect(...cell(token), size, size);
  }
  // A thin line where one group ends.
  const { into, width, height } = map;
  const of = (token: number) => groups.has(into[token]) ? into[token] : -1;
  ctx.fillStyle = "rgb(255 255 255 / 0.55)";
  for (let token = 0; token < into.length; token++) {
    const [x, y] = cell(token);
    if ((token + 1) % width && of(token) !== of(token + 1)) ctx.fillRect(x + size - 1, y, 1, size);
    if (token + width < width * height && of(token) !== of(token + width)) {
      ctx.fillRect(x, y + size - 1, size, 1);
    }
  }
}

function drawLines(canvas: HTMLCanvasElement, map: MergeMap, groups: ReadonlyMap<number, number[]>): void {
  const { ctx, size, cell } = begin(canvas, map);
  const middle = (token: number) => {
    const [x, y] = cell(token);
    return [x + size / 2, y + size / 2] as const;
  };
  // Dark beneath bright, so that it shows on any picture.
  for (const [colour, width] of [["rgb(0 0 0 / 0.5)", 3.2], ["rgb(255 255 255)", 1.4]] as const) {
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.lineWidth = width * Math.max(1.2, size / 20);
    ctx.lineCap = "round";
    ctx.beginPath();
    for (const [to, members] of groups) {
      for (const token of members) {
        ctx.moveTo(...middle(token));
        ctx.lineTo(...middle(to));
      }
    }
    ctx.stroke();
    ctx.beginPath();
    for (const to of groups.keys()) {
      const [x, y] = middle(to), r = Math.max(1.5, size * 0.18) + width * 0.5;
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 2 * Math.PI);
    }
    ctx.fill();
  }
}

/** One token, the group that it is in, and what went where. */
export function drawToken(
  canvas: HTMLCanvasElement,
  map: MergeMap,
  { token, groups }: { token: number | null; groups: ReadonlyMap<number, number[]> },
): void {
  const { ctx, size, cell } = begin(canvas, map);
  if (token === null) return;
  const to = map.into[token], members = groups.get(to);
  const ring = (token: number, colour: string, width: number) => {
    const [x, y] = cell(token);
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.strokeRect(x + width / 2, y + width / 2, size - width, size - width);
  };
  if (members) {
    drawLines(canvas, map, new Map([[to, members]]));
    for (const one of members) {
      ring(one, "black", Math.max(2, size / 8));
      ring(one, "white", Math.max(1, size / 14));
    }
    ring(to, "black", Math.max(4, size / 5));
    ring(to, "gold", Math.max(3, size / 7));
  }
  ring(token, "black", Math.max(3, size / 6));
  ring(token, token === to && members ? "gold" : "white", Math.max(2, size / 10));
}
