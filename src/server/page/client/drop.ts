import { useEffect, useRef, useState } from "hono/jsx/dom";
import { readChunks, readText } from "../../../image/png_chunks.ts";

/** Larger than any picture that a server like this draws. */
const MOST_BYTES = 64 << 20;

/** The text of the chunk `parameters`. Throws where there is none. */
export async function readParameters(file: File): Promise<string> {
  if (file.size > MOST_BYTES) throw new Error(`Cannot read ${file.name}: expected at most 64 MB`);
  let text: string | undefined;
  try {
    for (const chunk of readChunks(new Uint8Array(await file.arrayBuffer()))) {
      if (!/^(tEXt|zTXt|iTXt)$/.test(chunk.type)) continue;
      const [name, value] = readText(chunk) ?? [];
      if (name === "parameters") text = value;
    }
  } catch (error) {
    throw new Error(`Cannot use ${file.name}: ${(error as Error).message}`);
  }
  if (text === undefined) {
    throw new Error(
      `Cannot use ${file.name}: expected a PNG with its settings in a text chunk “parameters”, found none`,
    );
  }
  return text;
}

/** Takes a file that is dropped anywhere on the page; true while one is held over it. */
export function useDrop(onFile: (file: File) => void): boolean {
  const [over, setOver] = useState(false);
  const latest = useRef(onFile); // the listeners stay, so that no file slips by and opens in place of the page
  latest.current = onFile;
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const holdsFile = (e: DragEvent) => e.dataTransfer?.types.includes("Files") ?? false;
    addEventListener("dragover", (e) => {
      if (!holdsFile(e)) return;
      e.preventDefault();
      setOver(true);
    }, { signal });
    addEventListener("dragleave", (e) => {
      if (e.relatedTarget === null) setOver(false); // it left the window
    }, { signal });
    addEventListener("drop", (e) => {
      if (!holdsFile(e)) return;
      e.preventDefault();
      setOver(false);
      const file = e.dataTransfer?.files[0];
      if (file) latest.current(file);
    }, { signal });
    return () => controller.abort();
  }, []);
  return over;
}
