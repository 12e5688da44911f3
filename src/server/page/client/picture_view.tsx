import type { Child } from "hono/jsx";
import type { Drawn } from "./api.ts";
import { median, ratioText, seconds, times, tokensText } from "./format.ts";
import { Download, Reuse } from "./icons.tsx";
import { fileName, urlOf } from "./picture.ts";
import type { Running } from "./run.ts";
import type { View } from "./tabs.tsx";

/** How far it is, or how it ended: it always has the same room, so that nothing jumps. */
export function Progress(
  { running, news, onCancel }: { running: Running | null; news: string; onCancel: () => void },
) {
  if (!running) {
    return (
      <div class="progress" key="idle">
        <p aria-hidden={news ? "true" : undefined}>
          <span>{news || "Ready. Ctrl + Enter draws, too."}</span>
        </p>
      </div>
    );
  }
  const { label, step, position, progress, secondsLeft, done, of } = running;
  const parts: string[] = [];
  if (position > 0) parts.push(position === 1 ? "one job before it" : `${position} jobs before it`);
  else if (step) parts.push(`step ${step.index} of ${step.total}`);
  if (of > 1) parts.push(`picture ${done + 1} of ${of}`);
  if (secondsLeft !== null && secondsLeft > 0.5) parts.push(`about ${Math.ceil(secondsLeft)} s left`);
  return (
    <div class="progress" key="busy">
      <p>
        <strong>{position > 0 ? "Waiting" : label}</strong>{" "}
        <span id="progress-text">{parts.join(" · ")}</span>
        <button type="button" class="link" onClick={onCancel}>Cancel</button>
      </p>
      <progress max={1} value={progress} aria-label="Progress"></progress>
    </div>
  );
}

/** A picture as it grows. */
export function Preview({ running, ratio = "1 / 1" }: { running: Running; ratio?: string }) {
  return (
    <div class="frame busy" style={{ aspectRatio: ratio }}>
      {running.step?.preview
        ? <img id="preview" src={running.step.preview} alt={`Preview, step ${running.step.index}`} />
        : <span class="hint">{running.position > 0 ? "Waiting its turn" : "Beginning"}</span>}
    </div>
  );
}

export function Empty({ children }: { children: Child }) {
  return (
    <div class="empty">
      <svg
        viewBox="0 0 120 60"
        width="120"
        height="60"
        aria-hidden="true"
        fill="none"
        stroke="currentColor"
        stroke-width="2"
      >
        {[0, 1, 2, 3].map((i) => (
          <path
            key={i}
            d={`M22 ${9 + 14 * i}C60 ${9 + 14 * i} 60 ${i < 2 ? 16 : 44} 98 ${i < 2 ? 16 : 44}`}
          />
        ))}
        {[0, 1, 2, 3].map((i) => <rect key={i} x="8" y={4 + 14 * i} width="10" height="10" rx="3" />)}
        {[16, 44].map((y) => <rect key={y} x="100" y={y - 5} width="10" height="10" rx="3" />)}
      </svg>
      <p>{children}</p>
    </div>
  );
}

export function Figures({ list }: { list: [name: string, value: string | number, id?: string][] }) {
  return (
    <dl class="figures">
      {list.map(([name, value, id]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd id={id}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What a picture took. */
export function figuresOf({ stats }: Drawn, like?: Drawn): [name: string, value: string][] {
  return [
    ["Time", seconds(stats.seconds.total)],
    ["A step", seconds(median(stats.step_seconds))],
    ["Tokens", tokensText(stats.tokens, like?.stats.tokens)],
  ];
}

export function altOf({ request }: Drawn): string {
  return `${request.prompt} (seed ${request.seed}, merge ratio ${ratioText(request.token_merging.ratio)})`;
}

export function DownloadLink({ drawn, small = false }: { drawn: Drawn; small?: boolean }) {
  return (
    <a
      class={small ? "icon" : "button"}
      href={urlOf(drawn)}
      download={fileName(drawn)}
      aria-label={small ? "Download the PNG" : undefined}
      title="The PNG, with its settings in it"
    >
      <Download />
      {small ? null : "Download PNG"}
    </a>
  );
}

export function PictureView(
  { drawn, running, onReuse, onView }: {
    drawn: Drawn | null;
    running: Running | null;
    onReuse: (drawn: Drawn) => void;
    onView: (view: View) => void;
  },
) {
  if (running) {
    return (
      <div class="single" key="preview">
        <Preview running={running} />
      </div>
    );
  }
  if (!drawn) {
    return <Empty>Say what to draw, and press “Draw”. The picture grows here, step by step.</Empty>;
  }
  const { request, stats, width, height, warnings } = drawn;
  const merged = stats.ceiling > 1;
  return (
    <div class="single" key="drawn">
      <div class="frame" style={{ aspectRatio: `${width} / ${height}` }}>
        <img id="picture" src={urlOf(drawn)} width={width} height={height} alt={altOf(drawn)} />
      </div>
      <div class="beside">
        <p class="caption">{request.prompt}</p>
        <Figures
          list={[
            ["Size", `${width} × ${height}`],
            ["Seed", request.seed],
            [
              "Merge ratio",
              request.token_merging.ratio === 0 ? "off" : ratioText(request.token_merging.ratio),
            ],
            ...figuresOf(drawn),
            ["Counted ceiling", merged ? `${times(stats.ceiling)} the speed` : "nothing merged"],
          ]}
        />
        {warnings.map((warning) => <p key={warning} class="warning">Note: {warning}</p>)}
        <div class="row">
          <DownloadLink drawn={drawn} />
          <button type="button" class="button" onClick={() => onReuse(drawn)}>
            <Reuse />Use these settings
          </button>
        </div>
        <p class="hint">
          Look closer:{" "}
          <button type="button" class="link" onClick={() => onView("compare")}>against no merging</button>,
          {" "}
          <button type="button" class="link" onClick={() => onView("map")}>what merged into what</button>,
          {" "}
          <button type="button" class="link" onClick={() => onView("ratios")}>at other ratios</button>.
        </p>
      </div>
    </div>
  );
}
