import { maxRatio } from "../../../tome/options.ts";
import type { Drawn } from "./api.ts";
import { isNoise, speedup } from "./compare.tsx";
import { decibels, median, ratioText, seconds, similarity, times, tokensText } from "./format.ts";
import { likeness, urlOf } from "./picture.ts";
import { altOf, Empty, Preview } from "./picture_view.tsx";
import { Plot } from "./plot.tsx";
import type { Running } from "./run.ts";
import type { Request } from "./settings.ts";

/** The same picture at several ratios, the first of them 0; the last ones may be yet to come. */
export interface Strip {
  ratios: number[];
  drawn: Drawn[];
}

/** Seven from 0 to 0.75, or to what the cells can reach. */
export function ratiosUpTo({ sx = 2, sy = 2 }: Request["token_merging"]): number[] {
  const most = Math.min(0.75, maxRatio({ sx, sy }));
  if (!(most > 0)) return [0];
  return Array.from({ length: 7 }, (_, i) => Math.floor(most * i / 6 * 1000) / 1000);
}

export function RatiosView({ strip, running }: { strip: Strip | null; running: Running | null }) {
  if (!strip) {
    return (
      <Empty>
        “Draw the strip” draws the picture seven times with the same seed, at ratios from 0 to 0.75, and plots
        what each takes against how like the first it is.
      </Empty>
    );
  }
  const { ratios, drawn } = strip;
  const rows = drawn.map((one, i) => ({
    drawn: one,
    ratio: ratios[i],
    seconds: median(one.stats.step_seconds),
    speedup: speedup(drawn[0], one),
    ...likeness(drawn[0], one),
  }));
  return (
    <div class="ratios">
      <ol class="strip" id="strip">
        {ratios.map((ratio, i) => (
          <li key={ratio}>
            <figure>
              {drawn[i]
                ? (
                  <div
                    class="frame"
                    key="drawn"
                    style={{ aspectRatio: `${drawn[i].width} / ${drawn[i].height}` }}
                  >
                    <img
                      src={urlOf(drawn[i])}
                      width={drawn[i].width}
                      height={drawn[i].height}
                      alt={altOf(drawn[i])}
                    />
                  </div>
                )
                : running && running.done === i
                ? <Preview key="preview" running={running} />
                : <div class="frame" key="none" style={{ aspectRatio: "1 / 1" }}></div>}
              <figcaption>
                <strong>{ratioText(ratio)}</strong>
                <span>{rows[i] && i > 0 ? ` SSIM ${similarity(rows[i].ssim)}` : ""}</span>
              </figcaption>
            </figure>
          </li>
        ))}
      </ol>
      {rows.length > 1
        ? (
          <div class="charts">
            <Plot points={rows} />
            <div class="scroll" tabindex={0} role="region" aria-label="Table of the strip">
              <table id="figures">
                <caption>Against ratio 0, the same seed</caption>
                <thead>
                  <tr>
                    {["Ratio", "A step", "Speed-up", "Ceiling", "PSNR", "SSIM", "Tokens"].map((name) => (
                      <th key={name} scope="col">{name}</th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row) => (
                    <tr key={row.ratio}>
                      <th scope="row">{ratioText(row.ratio)}</th>
                      <td>{seconds(row.seconds)}</td>
                      <td>{times(row.speedup)}</td>
                      <td>{times(row.drawn.stats.ceiling)}</td>
                      <td>{decibels(row.psnr)}</td>
                      <td>{similarity(row.ssim)}</td>
                      <td>{tokensText(row.drawn.stats.tokens, rows[1].drawn.stats.tokens)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <p class="hint">
              “A step” is the median of a picture’s steps. The ceiling is what counting multiply-adds lets
              merging gain at most{rows.some((row) => isNoise(row.speedup, row.drawn.stats.ceiling))
                ? "; a speed-up above it is the machine’s noise, as from other work at the same time"
                : ""}.
            </p>
          </div>
        )
        : null}
    </div>
  );
}
