import process from "node:process";

/** Where a command writes: results to `out`, all else to `err`. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** Columns of the terminal that `err` is; undefined where it is none. */
  columns: number | undefined;
}

/** The process's own. Writing to a pipe that its reader has closed (`| head -1`) is no error. */
export function processIo(): Io {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    columns: process.stderr.isTTY ? process.stderr.columns || 80 : undefined,
  };
}
