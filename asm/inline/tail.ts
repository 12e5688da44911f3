/** Vectors of 1 to 3 lanes at the end of a row: nothing beyond the row is read or written. Other lanes load as 0. */
// @ts-ignore: decorator
@inline
export function load_tail(p: usize, lanes: i32): v128 {
  let v = v128.load32_zero(p);
  if (lanes > 1) v = v128.load32_lane(p, v, 1, 4);
  if (lanes > 2) v = v128.load32_lane(p, v, 2, 8);
  return v;
}

// @ts-ignore: decorator
@inline
export function store_tail(p: usize, v: v128, lanes: i32): void {
  v128.store32_lane(p, v, 0);
  if (lanes > 1) v128.store32_lane(p, v, 1, 4);
  if (lanes > 2) v128.store32_lane(p, v, 2, 8);
}
