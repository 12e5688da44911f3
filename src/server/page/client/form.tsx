import { maxRatio } from "../../../tome/options.ts";
import type { Model, Problem } from "./api.ts";
import { CheckField, described, errorOf, Field, FieldError, NumberField, SelectField } from "./fields.tsx";
import { ratioText } from "./format.ts";
import { Dice, Lock } from "./icons.tsx";
import { randomSeed, samplers, type Settings } from "./settings.ts";

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
          <button type="button" class="secondary" id="cancel" aria-disabled={String(!busy)} onClick={onCancel}>
            Cancel
          </button>
        </div>
        {problem && !problem.param
          ? <p class="error banner" role="alert" id="problem">{problem.message}</p>
          : null}
      </div>
      <details class="card" open={isWide || !!errorOf(problem, "negative_prompt", "steps", "seed", "guidance_scale", "sampler", "model")}>
        <summary>Picture</summary>
        <PictureFields {...props} />
      </details>
      <details class="card" open={!!errorOf(problem, "token_merging")}>
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
  const error = errorOf(problem, "token_merging");
  const most = Math.max(0, maxRatio({ sx: Number(s.sx) || 2, sy: Number(s.sy) || 2 }));
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
        max={Math.floor(most * 100) / 100}
        step={0.01}
        value={s.ratio}
        onInput={(e: InputEvent) => onChange({ ratio: Number((e.target as HTMLInputElement).value) })}
      />
      <p class="hint" id="ratio-hint">The share of tokens that attention does without, up to {ratioText(most)}.</p>
      <FieldError id="ratio" error={error} />
    </div>
  );
}

function PictureFields({ settings: s, onChange, models, info, problem }: FormProps) {
  const negative = errorOf(problem, "negative_prompt"), seed = errorOf(problem, "seed");
  return (
    <div class="fields">
      <Field id="negative" label="Negative prompt" error={negative}>
        <textarea
          {...described("negative", { error: negative })}
          rows={2}
          value={s.negativePrompt}
          placeholder="What to avoid"
          onInput={(e: InputEvent) => onChange({ negativePrompt: (e.target as HTMLTextAreaElement).value })}
        />
      </Field>
      <Field
        id="seed"
        label="Seed"
        error={seed}
        hint={s.keepSeed ? "Kept: the same settings give the same picture." : "“Draw” takes a new one each time."}
      >
        <div class="seed">
          <input
            {...described("seed", { hint: true, error: seed })}
            type="number"
            inputmode="numeric"
            min={0}
            step={1}
            value={s.seed}
            placeholder="random"
            onInput={(e: InputEvent) => onChange({ seed: (e.target as HTMLInputElement).value })}
          />
          <button
            type="button"
            class="icon"
            aria-label="Random seed"
            title="Random seed"
            onClick={() => onChange({ seed: randomSeed() })}
          >
            <Dice />
          </button>
          <button
            type="button"
            class="icon"
            aria-label="Keep the seed"
            title="Keep the seed"
            aria-pressed={s.keepSeed ? "true" : "false"}
            onClick={() => onChange({ keepSeed: !s.keepSeed })}
          >
            <Lock open={!s.keepSeed} />
          </button>
        </div>
      </Field>
      <div class="pair">
        <NumberField
          id="steps"
          label="Steps"
          min={1}
          value={s.steps}
          placeholder={info?.defaults.steps ?? 25}
          error={errorOf(problem, "steps")}
          onValue={(steps) => onChange({ steps })}
        />
        <NumberField
          id="guidance"
          label="Guidance"
          min={0}
          step="any"
          value={s.guidanceScale}
          placeholder={info?.defaults.guidanceScale ?? 7.5}
          error={errorOf(problem, "guidance_scale")}
          onValue={(guidanceScale) => onChange({ guidanceScale })}
        />
      </div>
      <SelectField
        id="sampler"
        label="Sampler"
        value={s.sampler}
        error={errorOf(problem, "sampler")}
        options={[["", "The model’s own"], ...samplers]}
        onValue={(sampler) => onChange({ sampler })}
      />
      {models.length > 1
        ? (
          <SelectField
            id="model"
            label="Model"
            value={s.model}
            error={errorOf(problem, "model")}
            options={[["", "The server’s own"], ...models.map(({ id }) => [id, id] as const)]}
            onValue={(model) => onChange({ model })}
          />
        )
        : null}
    </div>
  );
}

function MergingFields({ settings: s, onChange }: FormProps) {
  return (
    <div class="fields">
      <div class="pair">
        <NumberField id="sx" label="Cell width (sx)" min={1} value={s.sx} onValue={(sx) => onChange({ sx })} />
        <NumberField id="sy" label="Cell height (sy)" min={1} value={s.sy} onValue={(sy) => onChange({ sy })} />
      </div>
      <SelectField
        id="max-downsample"
        label="Merge in layers down-sampled by at most"
        value={s.maxDownsample}
        options={["1", "2", "4", "8"].map((n) => [n, n === "1" ? "1: the outermost only" : n] as const)}
        onValue={(maxDownsample) => onChange({ maxDownsample })}
      />
      <fieldset class="field checks">
        <legend>Merge around</legend>
        <CheckField id="attn" label="Self-attention" checked={s.mergeAttn} onChecked={(mergeAttn) => onChange({ mergeAttn })} />
        <CheckField
          id="crossattn"
          label="Attention to the text"
          checked={s.mergeCrossAttn}
          onChecked={(mergeCrossAttn) => onChange({ mergeCrossAttn })}
        />
        <CheckField id="mlp" label="Feed-forward layers" checked={s.mergeMlp} onChecked={(mergeMlp) => onChange({ mergeMlp })} />
      </fieldset>
      <CheckField
        id="rand"
        label="Draw each cell’s kept token at random"
        checked={s.useRand}
        onChecked={(useRand) => onChange({ useRand })}
      />
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
