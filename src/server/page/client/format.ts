/** Figures as people read them; and the sums that they are. */

export function seconds(s: number): string {
  if (s >= 99.5) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${s >= 9.95 ? s.toFixed(1) : s >= 0.995 ? s.toFixed(2) : s.toFixed(3)} s`;
}

export const times = (x: number): string => `${x.toFixed(2)}×`;
export const decibels = (x: number): string => Number.isFinite(x) ? `${x.toFixed(1)} dB` : "∞ dB";
export const similarity = (x: number): string => x.toFixed(3);
/** 0.5, 0.125: as short as it is exact. */
export const ratioText = (x: number): string => String(Math.round(x * 1000) / 1000);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

type Tokens = readonly { before: number; after: number }[];

/** "576 → 288 in 5 of 9 blocks", or of a picture without merging, by those of its like with it, "all 576". */
export function tokensText(tokens: Tokens, like: Tokens = []): string {
  const merged = tokens.filter((t) => t.after < t.before);
  if (merged.length === 0) {
    const would = like.find((t) => t.after < t.before);
    return would ? `all ${would.before}` : "none merged";
  }
  return `${merged[0].before} → ${merged[0].after} in ${merged.length} of ${tokens.length} blocks`;
}
