import type { Backend, MatchOptions, Tensor } from "./backend.ts";

/** The operations whose multiply-adds are counted; everything else is linear in the size of its tensors. */
export type WorkKind = "linear" | "conv2d" | "attention" | "match";

/** All calls of one layer at one size. */
export interface WorkEntry {
  readonly kind: WorkKind;
  /** Checkpoint path of the layer, or the kind where it has none. */
  readonly name: string;
  readonly batch: number;
  /** Per image: rows that go in (linear), pixels that come out (conv2d), queries, tokens to match. */
  readonly tokens: number;
  /** Per image: keys of an attention, destinations of a matching; 0 otherwise. */
  readonly keys: number;
  /** Tokens merged by a matching; 0 otherwise. */
  readonly merged: number;
  calls: number;
  /** Of all calls. */
  multiplyAdds: number;
}

/** Multiply-adds per layer. Cheap enough to stay on: about a thousand calls a step. */
export class WorkLog {
  readonly #entries = new Map<string, WorkEntry>();

  /** In the order of their first call. */
  get entries(): readonly Readonly<WorkEntry>[] {
    return [...this.#entries.values()];
  }

  /** Multiply-adds by kind. */
  get totals(): Record<WorkKind, number> {
    const totals = { linear: 0, conv2d: 0, attention: 0, match: 0 };
    for (const { kind, multiplyAdds } of this.#entries.values()) totals[kind] += multiplyAdds;
    return totals;
  }

  /** Multiply-adds of everything. */
  get multiplyAdds(): number {
    return Object.values(this.totals).reduce((a, b) => a + b, 0);
  }

  add(call: Omit<WorkEntry, "calls">): void {
    const key = `${call.kind} ${call.name} ${call.batch} ${call.tokens} ${call.keys} ${call.merged}`;
    const entry = this.#entries.get(key);
    if (entry) {
      entry.calls++;
      entry.multiplyAdds += call.multiplyAdds;
    } else {
      this.#entries.set(key, { ...call, calls: 1 });
    }
  }

  clear(): void {
    this.#entries.clear();
  }
}

/**
 * A backend that does what `b` does and tallies the work in `log`. Attention counts q·k and p·v; a causal one
 * is counted in full, as a convolution is at its borders. Handles pass through, so tensors and weights of both
 * are the same.
 */
export function countWork(b: Backend, log: WorkLog): Backend {
  const logMatch = (metric: Tensor, options: Omit<MatchOptions, "r">, merged: number) => {
    const [batch, tokens, channels] = metric.shape;
    const keys = Math.floor(options.height / options.sy) * Math.floor(options.width / options.sx);
    const multiplyAdds = batch * (tokens - keys) * keys * channels;
    log.add({ kind: "match", name: options.name ?? "match", batch, tokens, keys, merged, multiplyAdds });
  };
  const counted: Pick<Backend, "linear" | "conv2d" | "attention" | "match" | "bestMatches"> = {
    linear(x, w, options) {
      const out = b.linear(x, w, options);
      const [batch, ...rest] = x.shape.slice(0, -1);
      const tokens = rest.reduce((a, n) => a * n, 1);
      const multiplyAdds = batch * tokens * w.cin * w.cout;
      log.add({ kind: "linear", name: w.name, batch, tokens, keys: 0, merged: 0, multiplyAdds });
      return out;
    },
    conv2d(x, w, options) {
      const out = b.conv2d(x, w, options);
      const [batch, height, width] = out.shape, tokens = height * width;
      const multiplyAdds = batch * tokens * w.kernel * w.kernel * w.cin * w.cout;
      log.add({ kind: "conv2d", name: w.name, batch, tokens, keys: 0, merged: 0, multiplyAdds });
      return out;
    },
    attention(q, k, v, options) {
      const out = b.attention(q, k, v, options);
      const [batch, tokens, channels] = q.shape, keys = k.shape[1];
      const multiplyAdds = 2 * batch * tokens * keys * channels;
      const name = options.name ?? "attention";
      log.add({ kind: "attention", name, batch, tokens, keys, merged: 0, multiplyAdds });
      return out;
    },
    match(metric, options) {
      const plan = b.match(metric, options);
      logMatch(metric, options, options.r);
      return plan;
    },
    async bestMatches(metric, options) {
      const values = await b.bestMatches(metric, options);
      logMatch(metric, options, 0);
      return values;
    },
  };
  const methods = new Map<PropertyKey, unknown>(Object.entries(counted));
  return new Proxy(b, {
    get(target, key) {
      if (!methods.has(key)) {
        const value = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        methods.set(key, value.bind(target)); // private fields refuse a proxy as `this`
      }
      return methods.get(key);
    },
  });
}
