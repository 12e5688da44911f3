const LOOP = /^( *)for \(var (\w+) = 0u; \2 < (\w+); \2\+\+\) \{ \/\/ unroll$/;

/**
 * Writes out the loops of a kernel whose first line ends in `// unroll`, as many times as `sizes` says of their
 * limit, the index replaced by its value. An array is kept in registers only if every index is known when the
 * shader is compiled, and compilers that guard loops against running forever do not unroll them.
 */
export function unroll(source: string, sizes: Readonly<Record<string, number>>): string {
  const lines = source.split("\n");
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const loop = LOOP.exec(lines[at]);
    if (!loop) {
      out.push(lines[at]);
      continue;
    }
    const [, indent, index, limit] = loop;
    const end = lines.indexOf(`${indent}}`, at);
    const name = new RegExp(`\\b${index}\\b`, "g");
    const body = lines.slice(at + 1, end).join("\n");
    for (let i = 0; i < sizes[limit]; i++) {
      out.push(`${indent}{`, unroll(body.replace(name, `${i}u`), sizes), `${indent}}`);
    }
    at = end;
  }
  return out.join("\n");
}
