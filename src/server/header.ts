/** Most names that a header lists. */
const MOST = 50;

/** Names as a header may hold them: a body's fields may be called anything. */
export function headerList(names: readonly string[]): string {
  const listed = names.slice(0, MOST).map((name) => name.slice(0, 100).replace(/[^\w ()[\].-]/g, "?"));
  return listed.concat(names.length > MOST ? [`and ${names.length - MOST} more`] : []).join(", ");
}
