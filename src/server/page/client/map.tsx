import { useEffect, useMemo, useRef, useState } from "hono/jsx/dom";
import type { Drawn, Step } from "./api.ts";
import { CheckField, SelectField } from "./fields.tsx";
import { groupsOf, layerName, meanColours, tell } from "./groups.ts";
import { drawMap, drawToken, type Style } from "./map_canvas.ts";
import { pixelsOf, urlOf } from "./picture.ts";
import { altOf, Empty, Figures, Preview } from "./picture_view.tsx";
import type { Running } from "./run.ts";

/** A picture, and what every step of it merged. */
export interface Mapped {
  drawn: Drawn;
  steps: Step[];
}

const STYLES: [Style, string][] = [["groups", "Groups"], ["mosaic", "Mosaic"], ["lines", "Lines"]];

export function MapView({ mapped, running }: { mapped: Mapped | null; running: Running | null }) {
  if (running && !mapped) {
    return (
      <div class="single" key="preview">
        <Preview running={running} />
      </div>
    );
  }
  if (!mapped) {
    return (
      <Empty>
        “Draw with its map” draws the picture and keeps what every step merged, layer by layer: which tokens,
        into which.
      </Empty>
    );
  }
  if (mapped.steps.every((step) => step.maps.length === 0)) {
    return (
      <Empty>
        Nothing was merged in this picture: its ratio is 0, nothing is merged around, or no layer is
        down-sampled by as little as the settings ask for.
      </Empty>
    );
  }
  return <Study key={mapped.drawn.id} {...mapped} />;
}

function Study({ drawn, steps }: Mapped) {
  const layers = steps[0].maps.map((map) => map.name);
  const [at, setAt] = useState(steps.length - 1);
  const [layer, setLayer] = useState(layers[0]);
  const [style, setStyle] = useState<Style>("groups");
  const [strength, setStrength] = useState(60);
  const [asItWas, setAsItWas] = useState(false);
  const [token, setToken] = useState<number | null>(null);
  const canvas = useRef<HTMLCanvasElement>(null), top = useRef<HTMLCanvasElement>(null);

  const step = steps[at];
  const map = step.maps.find((m) => m.name === layer) ?? step.maps[0];
  const groups = useMemo(() => groupsOf(map), [map]);
  const means = useMemo(() => meanColours(groups, map, pixelsOf(drawn)), [groups]);
  // An effect runs a frame later, when the view may be another.
  useEffect(() => {
    if (canvas.current) drawMap(canvas.current, map, { groups, style, means });
  }, [map, style]);
  useEffect(() => {
    if (top.current) drawToken(top.current, map, { token, groups });
  }, [map, token]);

  const largest = [...groups.values()].reduce((most, members) => Math.max(most, members.length + 1), 0);
  return (
    <div class="study">
      <div class="map-column">
        <TokenGrid map={map} token={token} onToken={setToken} ratio={`${drawn.width} / ${drawn.height}`}>
          <img
            src={asItWas && step.preview ? step.preview : urlOf(drawn)}
            alt={altOf(drawn)}
            width={drawn.width}
            height={drawn.height}
          />
          <canvas
            ref={canvas}
            id="map"
            aria-hidden="true"
            style={{ opacity: style === "mosaic" ? 1 : style === "lines" ? 0.9 : strength / 100 }}
          />
          <canvas ref={top} aria-hidden="true" />
        </TokenGrid>
        <p id="token" class="token" aria-live="polite">
          {token === null
            ? "Point at a token, or move over them with the arrow keys."
            : tell(token, map, groups)}
        </p>
      </div>
      <div class="beside">
        <div class="field">
          <div class="spread">
            <label for="map-step">Step</label>
            <output for="map-step" class="figure">{step.index} of {step.total}</output>
          </div>
          <input
            id="map-step"
            type="range"
            min={1}
            max={steps.length}
            step={1}
            value={at + 1}
            onInput={(e: InputEvent) => setAt(Number((e.target as HTMLInputElement).value) - 1)}
          />
        </div>
        <SelectField
          id="map-layer"
          label="Layer"
          value={layer}
          options={step.maps.map((m) => [m.name, `${layerName(m.name)} (${m.width} × ${m.height})`] as const)}
          onValue={(name) => {
            setLayer(name);
            setToken(null);
          }}
        />
        <fieldset class="field">
          <legend>Shown as</legend>
          <div class="segments">
            {STYLES.map(([name, label]) => (
              <label key={name} class={name === style ? "on" : ""}>
                <input
                  type="radio"
                  name="map-style"
                  value={name}
                  checked={name === style}
                  onChange={() => setStyle(name)}
                />
                {label}
              </label>
            ))}
          </div>
        </fieldset>
        {style === "groups"
          ? (
            <div class="field" key="strength">
              <label for="map-strength">Strength of the colours</label>
              <input
                id="map-strength"
                type="range"
                min={10}
                max={100}
                value={strength}
                onInput={(e: InputEvent) => setStrength(Number((e.target as HTMLInputElement).value))}
              />
            </div>
          )
          : null}
        <CheckField
          id="map-then"
          label="Over the picture as it was at this step"
          checked={asItWas}
          onChecked={setAsItWas}
        />
        <Figures
          list={[
            ["Tokens", `${map.into.length} → ${map.into.length - map.r}`],
            ["Destinations that took any", groups.size],
            ["Largest group", `${largest} tokens`],
          ]}
        />
        <button type="button" class="button" onClick={() => save(map, step, drawn)}>
          Save this map as JSON
        </button>
        <p class="hint">
          With guidance the map is that of the prompted half. {style === "mosaic"
            ? "Each group has the mean colour of what it covers: about what attention has left to see."
            : style === "groups"
            ? "Tokens of one colour were merged into one; those without colour stayed by themselves."
            : "Every line leads from a token to the one that it was merged into."}
        </p>
      </div>
    </div>
  );
}

/** The tokens, to be pointed at or walked over. */
function TokenGrid(
  { map, token, onToken, ratio, children }: {
    map: Step["maps"][number];
    token: number | null;
    onToken: (token: number | null) => void;
    ratio: string;
    children: unknown;
  },
) {
  const { width, height, into } = map;
  const point = (e: PointerEvent) => {
    const box = (e.currentTarget as HTMLElement).getBoundingClientRect();
    const x = Math.floor((e.clientX - box.left) / box.width * width);
    const y = Math.floor((e.clientY - box.top) / box.height * height);
    onToken(x >= 0 && x < width && y >= 0 && y < height ? y * width + x : null);
  };
  const walk = (e: KeyboardEvent) => {
    const from = token ?? 0, x = from % width, y = Math.floor(from / width);
    const to = {
      ArrowLeft: () => x > 0 ? from - 1 : from,
      ArrowRight: () => x < width - 1 ? from + 1 : from,
      ArrowUp: () => y > 0 ? from - width : from,
      ArrowDown: () => y < height - 1 ? from + width : from,
      Home: () => 0,
      End: () => into.length - 1,
      Enter: () => into[from],
    }[e.key];
    if (!to) return;
    e.preventDefault();
    onToken(token === null ? 0 : to());
  };
  return (
    <div
      class="frame map"
      id="tokens"
      role="application"
      tabindex={0}
      aria-label={`Merge map of ${width} by ${height} tokens: arrow keys move, Enter goes to where a token was merged`}
      style={{ aspectRatio: ratio }}
      onPointermove={point}
      onPointerdown={point}
      onPointerleave={() => onToken(null)}
      onKeydown={walk}
      onFocus={(e: FocusEvent) => {
        // A pointer says by itself where it is.
        if (token === null && (e.currentTarget as HTMLElement).matches(":focus-visible")) onToken(0);
      }}
      onBlur={() => onToken(null)}
    >
      {children}
    </div>
  );
}

/** As the server gave it: `into[token]` is the token that each was merged into. */
function save({ into, ...map }: Step["maps"][number], step: Step, { request }: Drawn): void {
  const json = JSON.stringify({ step: step.index, steps: step.total, ...map, into: [...into], request });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  link.download = `merge-map-${request.seed}-step-${step.index}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
