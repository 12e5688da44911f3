/** Cells of `sy` rows × `sx` columns on a grid of tokens; whole cells only. */
export interface Cells {
  height: number;
  width: number;
  sx: number;
  sy: number;
}

/** How many cells fit: the number of destinations. */
export function cellCount({ height, width, sx, sy }: Cells): number {
  return Math.floor(height / sy) * Math.floor(width / sx);
}

/**
 * Writes one image's tokens, ascending, into two lists: one destination of each cell, at the position that
 * `randIdx` gives from `from` on (row-major in the cell; the top left one when absent), and everything else,
 * the tokens right of and below the last whole cell included.
 */
export function splitTokens(
  cells: Cells,
  into: { sources: Int32Array; destinations: Int32Array; randIdx?: Int32Array; from?: number },
): void {
  const { height, width, sx, sy } = cells;
  const { sources, destinations, randIdx, from = 0 } = into;
  const across = Math.floor(width / sx);
  const down = Math.floor(height / sy);
  let s = 0;
  let d = 0;
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / sy);
    const inRow = (y - row * sy) * sx;
    let token = y * width;
    if (row < down) {
      for (let cell = 0; cell < across; cell++) {
        const at = (randIdx === undefined ? 0 : randIdx[from + row * across + cell]) - inRow;
        for (let x = 0; x < sx; x++) {
          if (x === at) destinations[d++] = token++;
          else sources[s++] = token++;
        }
      }
    }
    const end = (y + 1) * width;
    while (token < end) sources[s++] = token++;
  }
}
