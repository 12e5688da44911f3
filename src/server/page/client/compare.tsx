import type { Drawn } from "./api.ts";
import { decibels, median, ratioText, similarity, times } from "./format.ts";
import { likeness, urlOf } from "./picture.ts";
import { altOf, DownloadLink, Empty, Figures, figuresOf, Preview } from "./picture_view.tsx";
import type { Running } from "./run.ts";

/** The same picture without and with merging; the second is yet to come at first. */
export interface Pair {
  before: Drawn;
  after?: Drawn;
}

/** Of the denoising alone: that is what merging can speed up. */
export function speedup(before: Drawn, after: Drawn): number {
  return median(before.stats.step_seconds) / median(after.stats.step_seconds);
}

/** Whether a speed-up is more than counting allows, and then the machine's doing. */
export function isNoise(speedup: number, ceiling: number): boolean {
  return speedup > 1.05 * ceiling;
}

export function CompareView({ pair, running }: { pair: Pair | null; running: Running | null }) {
  if (!pair && !running) {
    return (
      <Empty>
        “Draw both” draws the picture twice with the same seed: without merging, and at the ratio chosen. Then
        it compares their time and likeness.
      </Empty>
    );
  }
  return (
    <div class="compare">
      <div class="two">
        <Side
          id="before"
          title="Without merging"
          drawn={pair?.before}
          like={pair?.after}
          running={pair ? null : running}
        />
        <Side
          id="after"
          title={pair?.after ? `Ratio ${ratioText(pair.after.request.token_merging.ratio)}` : "With merging"}
          drawn={pair?.after}
          running={pair ? running : null}
        />
      </div>
      {pair?.after ? <Verdict before={pair.before} after={pair.after} /> : null}
    </div>
  );
}

function Side(
  { id, title, drawn, like, running }: {
    id: string;
    title: string;
    drawn?: Drawn;
    like?: Drawn;
    running: Running | null;
  },
) {
  return (
    <figure id={id}>
      <figcaption>{title}</figcaption>
      {drawn
        ? (
          <div class="frame" key="drawn" style={{ aspectRatio: `${drawn.width} / ${drawn.height}` }}>
            <img src={urlOf(drawn)} width={drawn.width} height={drawn.height} alt={altOf(drawn)} />
          </div>
        )
        : running
        ? <Preview key="preview" running={running} />
        : <div class="frame" key="none" style={{ aspectRatio: "1 / 1" }}></div>}
      {drawn
        ? (
          <div class="spread">
            <Figures list={figuresOf(drawn, like)} />
            <DownloadLink drawn={drawn} small />
          </div>
        )
        : null}
    </figure>
  );
}

function Verdict({ before, after }: { before: Drawn; after: Drawn }) {
  const speed = speedup(before, after), { ceiling } = after.stats;
  const { psnr, ssim } = likeness(before, after);
  return (
    <div class="verdict">
      <Figures
        list={[
          ["Speed-up of a step", times(speed), "speedup"],
          ["Counted ceiling", times(ceiling), "ceiling"],
          ["PSNR", decibels(psnr), "psnr"],
          ["SSIM", Number.isNaN(ssim) ? "–" : similarity(ssim), "ssim"],
        ]}
      />
      <p class="hint">
        The ceiling is what counting multiply-adds lets merging gain at most.
        {isNoise(speed, ceiling)
          ? " The speed-up is above it: the machine was busier during the first picture. Draw both again."
          : speed < 1
          ? " A step took longer than without merging: at this size finding what to merge costs more than it saves, or the machine was busier."
          : ""}
      </p>
    </div>
  );
}
