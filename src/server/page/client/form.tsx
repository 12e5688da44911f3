import type { Model, Problem } from "./api.ts";
import { described, errorOf, Field, FieldError } from "./fields.tsx";
import { ratioText } from "./format.ts";
import { MergingFields, PictureFields, reachable } from "./more_fields.tsx";
import type { Settings } from "./settings.ts";

export interface FormProps {
  settings: Settings;
  onChange: (change: Partial<Settings>) => void;
  models: Model[];
  /** Of the model that would draw; undefined until it is loaded. */
  info: Model["info"];
  problem: Problem | null;
  /** What the button says. */
  action: string;
  busy: boolean;
  onDraw: () => void;
  onCancel: () => void;
  onFile: (file: File) => void;
  /** What came of the last file. */
  fileNote: { text: string; bad: boolean } | null;
}

/** Settings are open where there is room for them. */
const isWide = matchMedia("(min-width: 60rem)").matches;

export function Form(props: FormProps) {
  const { settings: s, onChange, problem, action, busy, onDraw, onCancel } = props;
  const error = errorOf(problem, "prompt");
  return (
    <form
      class="form"
      aria-label="What to draw"
      onSubmit={(e: Event) => {
        e.preventDefault();
        onDraw();
      }}
      onKeydown={(e: KeyboardEvent) => {
        if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
          e.preventDefault();
          (e.currentTarget as HTMLFormElement).requestSubmit();
        }
      }}
    >
      <div class="card">
        <Field id="prompt" label="Prompt" error={error}>
          <textarea
            {...described("prompt", { error })}
            rows={3}
            value={s.prompt}
            placeholder="What to draw"
            onInput={(e: InputEvent) => onChange({ prompt: (e.target as HTMLTextAreaElement).value })}
          />
        </Field>
        <SizeField {...props} />
        <RatioField {...props} />
        <div class="actions">
          {/* Not disabled, which would take the focus away. */}
          <button type="submit" class="primary" id="draw" aria-disabled={String(busy)}>{action}</button>
          <button
            type="button"
            class="secondary"
            id="cancel"
            aria-disabled={String(!busy)}
            onClick={onCancel}
          >
            Cancel
          </button>
        </div>
        {problem && !problem.param
          ? <p class="error banner" role="alert" id="problem">{problem.message}</p>
          : null}
      </div>
      <details
        class="card"
        open={isWide ||
          !!errorOf(problem, "negative_prompt", "steps", "seed", "guidance_scale", "sampler", "model")}
      >
        <summary>Picture</summary>
        <PictureFields {...props} />
      </details>
      <details class="card" open={!!errorOf(problem, "sx", "sy", "max_downsample")}>
        <summary>Token merging</summary>
        <MergingFields {...props} />
      </details>
      <FileField {...props} />
    </form>
  );
}

/** The model's own size, and sizes where merging has something to gain. */
function sizes(native: number): number[] {
  return [native, ...[256, 512, 768, 1024].filter((size) => size > native).slice(0, 2)];
}

function SizeField({ settings: s, onChange, info, problem }: FormProps) {
  const error = errorOf(problem, "width", "height");
  const native = info?.nativeWidth;
  const width = Number(s.width || native), height = Number(s.height || info?.nativeHeight);
  const small = native !== undefined && native < 256 && width * height < 256 * 256;
  const set = (size: number) => onChange({ width: String(size), height: String(size) });
  const side = (name: "width" | "height", label: string) => (
    <input
      {...described(name, { error })}
      aria-label={label}
      type="number"
      inputmode="numeric"
      min={1}
      step={1}
      value={s[name]}
      placeholder={info && String(name === "width" ? info.nativeWidth : info.nativeHeight)}
      onInput={(e: InputEvent) => onChange({ [name]: (e.target as HTMLInputElement).value })}
    />
  );
  return (
    <fieldset class={error ? "field wrong" : "field"}>
      <legend>Size</legend>
      <div class="size">
        {side("width", "Width in pixels")}
        <span aria-hidden="true">×</span>
        {side("height", "Height in pixels")}
        <div class="chips" role="group" aria-label="Usual sizes">
          {native === undefined ? null : sizes(native).map((size) => (
            <button
              key={size}
              type="button"
              class="chip"
              aria-pressed={width === size && height === size ? "true" : "false"}
              aria-label={`${size} by ${size} pixels`}
              onClick={() => set(size)}
            >
              {size}
            </button>
          ))}
        </div>
      </div>
      <FieldError id="width" error={error} />
      {small
        ? (
          <p class="hint" id="small">
            At the model’s own size attention is a small part of the work, so merging gains little.{" "}
            <button type="button" class="link" onClick={() => set(256)}>Draw at 256 px</button>{" "}
            or more to see it gain speed.
          </p>
        )
        : null}
    </fieldset>
  );
}

function RatioField({ settings: s, onChange, problem }: FormProps) {
  const error = errorOf(problem, "token_merging", "ratio");
  const most = reachable(s);
  return (
    <div class={error ? "field wrong" : "field"}>
      <div class="spread">
        <label for="ratio">Merge ratio</label>
        <output for="ratio" class="figure">{s.ratio === 0 ? "off" : ratioText(s.ratio)}</output>
      </div>
      <input
        {...described("ratio", { hint: true, error })}
        type="range"
        min={0}
        max={most}
        step={0.01}
        value={s.ratio}
        onInput={(e: InputEvent) => onChange({ ratio: Number((e.target as HTMLInputElement).value) })}
      />
      <p class="hint" id="ratio-hint">
        The share of tokens that attention does without, up to {ratioText(most)}.
      </p>
      <FieldError id="ratio" error={error} />
    </div>
  );
}

function FileField({ onFile, fileNote }: FormProps) {
  return (
    <div class="file">
      <label class="drop" for="file">
        <span>Drop a PNG anywhere, or choose one, to get its settings back</span>
        <input
          id="file"
          type="file"
          accept="image/png,.png"
          onChange={(e: Event) => {
            const input = e.target as HTMLInputElement;
            if (input.files?.[0]) onFile(input.files[0]);
            input.value = ""; // so that the same file can be chosen again
          }}
        />
      </label>
      <p id="file-note" class={fileNote?.bad ? "error" : "hint"} role="status">{fileNote?.text ?? ""}</p>
    </div>
  );
}
