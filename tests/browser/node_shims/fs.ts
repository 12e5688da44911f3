/** Reading files of the server by their path from the repository's root. */
export async function stat(path: string) {
  const response = await fetch(path, { method: "HEAD" });
  if (!response.ok) throw new Error(`nothing at ${path}`);
  const folder = response.headers.get("x-folder") === "true";
  const size = Number(response.headers.get("content-length"));
  return { size, isFile: () => !folder, isDirectory: () => folder };
}

export async function readFile(path: string | URL, encoding?: string): Promise<string | Uint8Array> {
  const response = await fetch(path);
  if (!response.ok) throw Object.assign(new Error(`nothing at ${path}`), { code: "ENOENT" });
  return encoding ? await response.text() : new Uint8Array(await response.arrayBuffer());
}

export async function open(path: string) {
  const bytes = await readFile(path) as Uint8Array;
  return {
    stat: () => stat(path),
    read(target: Uint8Array, at: number, length: number, from: number) {
      const part = bytes.subarray(from, from + length);
      target.set(part, at);
      return Promise.resolve({ bytesRead: part.length });
    },
    close: () => Promise.resolve(),
  };
}
