import type { MergeMap } from "../../../tome/merge_map.ts";

/** The tokens that were merged into each destination which took any, by destination. */
export function groupsOf({ into }: Pick<MergeMap, "into">): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  into.forEach((to, token) => {
    if (to === token) return;
    const members = groups.get(to);
    if (members) members.push(token);
    else groups.set(to, [token]);
  });
  return groups;
}

/** Row and column from 1, as people count. */
export function placeOf(token: number, width: number): string {
  return `row ${Math.floor(token / width) + 1}, column ${token % width + 1}`;
}

/** What became of a token, in words. */
export function tell(
  token: number,
  { into, width }: MergeMap,
  groups: ReadonlyMap<number, number[]>,
): string {
  const place = placeOf(token, width), to = into[token];
  if (to !== token) {
    const others = groups.get(to)!.length - 1;
    const company = others === 0 ? "alone" : others === 1 ? "with one other" : `with ${others} others`;
    return `The token at ${place} was merged into ${placeOf(to, width)}, ${company}.`;
  }
  const taken = groups.get(token)?.length ?? 0;
  return taken === 0
    ? `The token at ${place} stayed by itself.`
    : `The token at ${place} took ${taken === 1 ? "one other" : `${taken} others`} in.`;
}

/** "Down 0, attention 1" for "down_blocks.0.attentions.1.transformer_blocks.0". */
export function layerName(name: string): string {
  const [, part, block, attention] = /^(\w+?)_blocks?(?:\.(\d+))?\.attentions\.(\d+)\./.exec(name) ?? [];
  if (part === undefined) return name;
  return `${part[0].toUpperCase()}${part.slice(1)}${block ? ` ${block}` : ""}, attention ${attention}`;
}

export type Rgb = [number, number, number];

/** Far apart for neighbours in number: the golden angle, and three shades. */
export function groupColour(index: number): string {
  return `hsl(${(index * 137.508 % 360).toFixed(1)} 75% ${[45, 60, 72][index % 3]}%)`;
}

/** The mean colour of every group's part of the picture, by destination. */
export function meanColours(
  groups: ReadonlyMap<number, number[]>,
  { width, height }: Pick<MergeMap, "width" | "height">,
  picture: { width: number; height: number; data: ArrayLike<number> },
): Map<number, Rgb> {
  const sums = new Float64Array(width * height * 4);
  for (let y = 0; y < picture.height; y++) {
    const row = Math.floor(y * height / picture.height);
    for (let x = 0; x < picture.width; x++) {
      const token = row * width + Math.floor(x * width / picture.width);
      const at = (y * picture.width + x) * 4;
      for (let c = 0; c < 3; c++) sums[4 * token + c] += picture.data[at + c];
      sums[4 * token + 3]++;
    }
  }
  const means = new Map<number, Rgb>();
  for (const [to, members] of groups) {
    const total = [0, 0, 0, 0];
    for (const token of [to, ...members]) for (let c = 0; c < 4; c++) total[c] += sums[4 * token + c];
    means.set(to, [0, 1, 2].map((c) => Math.round(total[c] / Math.max(1, total[3]))) as Rgb);
  }
  return means;
}
