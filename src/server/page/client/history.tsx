import { useState } from "hono/jsx/dom";
import type { Drawn } from "./api.ts";
import { ratioText, seconds } from "./format.ts";
import { Bin, Reuse } from "./icons.tsx";
import { urlOf } from "./picture.ts";
import { altOf, DownloadLink } from "./picture_view.tsx";

export interface HistoryProps {
  list: Drawn[];
  note: string;
  shown: Drawn | null;
  onShow: (drawn: Drawn) => void;
  onReuse: (drawn: Drawn) => void;
  onForget: (drawn: Drawn) => void;
  onForgetAll: () => void;
}

export function History({ list, note, shown, onShow, onReuse, onForget, onForgetAll }: HistoryProps) {
  const [sure, setSure] = useState(false);
  return (
    <section class="card history" aria-labelledby="history-title">
      <div class="spread">
        <h2 id="history-title" tabindex={-1}>History</h2>
        {list.length === 0 ? null : (
          <button
            type="button"
            class="link"
            id="forget-all"
            onClick={() => {
              setSure(!sure);
              if (sure) onForgetAll();
            }}
            onBlur={() => setSure(false)}
          >
            {sure ? `Really delete all ${list.length}?` : "Delete all"}
          </button>
        )}
      </div>
      {note ? <p class="warning" role="status">{note}</p> : null}
      {list.length === 0
        ? <p class="hint">What you draw is kept here, in this browser alone, over a reload too.</p>
        : (
          <ul id="history">
            {list.map((drawn) => (
              <li key={drawn.id} class={drawn === shown ? "shown" : ""}>
                <button
                  type="button"
                  class="thumb"
                  aria-label={`Show: ${altOf(drawn)}`}
                  onClick={() => onShow(drawn)}
                >
                  <img src={urlOf(drawn)} alt="" width={drawn.width} height={drawn.height} loading="lazy" />
                </button>
                <p class="caption" title={drawn.request.prompt}>{drawn.request.prompt}</p>
                <p class="hint">
                  {drawn.request.token_merging.ratio === 0
                    ? "no merging"
                    : `ratio ${ratioText(drawn.request.token_merging.ratio)}`} ·{" "}
                  {seconds(drawn.stats.seconds.total)}
                </p>
                <div class="row">
                  <button
                    type="button"
                    class="icon"
                    aria-label="Use these settings"
                    title="Use these settings"
                    onClick={() => onReuse(drawn)}
                  >
                    <Reuse />
                  </button>
                  <DownloadLink drawn={drawn} small />
                  <button
                    type="button"
                    class="icon"
                    aria-label="Delete"
                    title="Delete"
                    onClick={() => {
                      onForget(drawn);
                      document.getElementById("history-title")?.focus();
                    }}
                  >
                    <Bin />
                  </button>
                </div>
              </li>
            ))}
          </ul>
        )}
    </section>
  );
}
