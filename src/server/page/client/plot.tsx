import { ratioText, seconds, similarity } from "./format.ts";

export interface Point {
  ratio: number;
  seconds: number;
  ssim: number;
}

const WIDTH = 520, HEIGHT = 320;
const LEFT = 58, RIGHT = 24, TOP = 22, BOTTOM = 50;

/** Round numbers that span the values, about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low || Math.abs(high) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough)!;
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** What a step takes against how like the first picture it is; the table beside it has the same in figures. */
export function Plot({ points }: { points: Point[] }) {
  const shown = points.filter((p) => Number.isFinite(p.ssim));
  if (shown.length === 0) return null;
  const xs = ticks(
    0.98 * Math.min(...shown.map((p) => p.seconds)),
    Math.max(...shown.map((p) => p.seconds)),
    5,
  );
  const ys = ticks(Math.min(0.98, ...shown.map((p) => p.ssim)), 1, 5).filter((y) => y <= 1);
  const scale = (values: number[], from: number, to: number) => (v: number) =>
    from + (v - values[0]) / (values[values.length - 1] - values[0]) * (to - from);
  const x = scale(xs, LEFT, WIDTH - RIGHT), y = scale(ys, HEIGHT - BOTTOM, TOP);
  const summary = shown.map((p) =>
    `ratio ${ratioText(p.ratio)}: ${seconds(p.seconds)} a step, SSIM ${similarity(p.ssim)}`
  )
    .join("; ");
  return (
    <svg
      class="plot"
      id="plot"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`Time of a step against likeness. ${summary}`}
    >
      <g class="grid">
        {xs.map((v) => <path key={v} d={`M${x(v)} ${TOP}V${HEIGHT - BOTTOM}`} />)}
        {ys.map((v) => <path key={v} d={`M${LEFT} ${y(v)}H${WIDTH - RIGHT}`} />)}
      </g>
      <g class="ticks" text-anchor="middle">
        {xs.map((v) => <text key={v} x={x(v)} y={HEIGHT - BOTTOM + 18}>{Math.round(v * 1e6) / 1e6}</text>)}
      </g>
      <g class="ticks" text-anchor="end">
        {ys.map((v) => <text key={v} x={LEFT - 8} y={y(v) + 4}>{v}</text>)}
      </g>
      <text class="axis" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 10} text-anchor="middle">
        Seconds a step (less is faster)
      </text>
      <text
        class="axis"
        text-anchor="middle"
        transform={`translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`}
      >
        Likeness (SSIM to ratio 0)
      </text>
      <path
        class="line"
        d={`M${shown.map((p) => `${x(p.seconds).toFixed(1)} ${y(p.ssim).toFixed(1)}`).join("L")}`}
      />
      {shown.map((p) => {
        const left = x(p.seconds) > WIDTH - RIGHT - 50; // else its name would leave the picture
        return (
          <g key={p.ratio} class="point">
            <circle cx={x(p.seconds)} cy={y(p.ssim)} r={5.5} />
            <text x={x(p.seconds) + (left ? -10 : 10)} y={y(p.ssim) + 4} text-anchor={left ? "end" : "start"}>
              {ratioText(p.ratio)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}
