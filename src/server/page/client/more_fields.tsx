import { maxRatio } from "../../../tome/options.ts";
import type { Model, Problem } from "./api.ts";
import { CheckField, described, errorOf, Field, NumberField, SelectField } from "./fields.tsx";
import { Dice, Lock } from "./icons.tsx";
import { randomSeed, samplers, type Settings } from "./settings.ts";

interface Props {
  settings: Settings;
  onChange: (change: Partial<Settings>) => void;
  models: Model[];
  info: Model["info"];
  problem: Problem | null;
}

export function PictureFields({ settings: s, onChange, models, info, problem }: Props) {
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
        hint={s.keepSeed
          ? "Kept: the same settings give the same picture."
          : "“Draw” takes a new one each time."}
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

export function MergingFields({ settings: s, onChange, problem }: Props) {
  const cells = (change: Partial<Pick<Settings, "sx" | "sy">>) =>
    onChange({ ...change, ratio: Math.min(s.ratio, reachable({ ...s, ...change })) });
  return (
    <div class="fields">
      <div class="pair">
        <NumberField
          id="sx"
          label="Cell width (sx)"
          min={1}
          value={s.sx}
          error={errorOf(problem, "sx")}
          onValue={(sx) => cells({ sx })}
        />
        <NumberField
          id="sy"
          label="Cell height (sy)"
          min={1}
          value={s.sy}
          error={errorOf(problem, "sy")}
          onValue={(sy) => cells({ sy })}
        />
      </div>
      <SelectField
        id="max-downsample"
        label="Merge in layers down-sampled by at most"
        value={s.maxDownsample}
        error={errorOf(problem, "max_downsample")}
        options={["1", "2", "4", "8"].map((n) => [n, n === "1" ? "1: the outermost only" : n] as const)}
        onValue={(maxDownsample) => onChange({ maxDownsample })}
      />
      <fieldset class="field checks">
        <legend>Merge around</legend>
        <CheckField
          id="attn"
          label="Self-attention"
          checked={s.mergeAttn}
          onChecked={(mergeAttn) => onChange({ mergeAttn })}
        />
        <CheckField
          id="crossattn"
          label="Attention to the text"
          checked={s.mergeCrossAttn}
          onChecked={(mergeCrossAttn) => onChange({ mergeCrossAttn })}
        />
        <CheckField
          id="mlp"
          label="Feed-forward layers"
          checked={s.mergeMlp}
          onChecked={(mergeMlp) => onChange({ mergeMlp })}
        />
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

/** The largest ratio that the slider offers with these cells. */
export function reachable({ sx, sy }: Pick<Settings, "sx" | "sy">): number {
  const most = maxRatio({ sx: Number(sx) || 2, sy: Number(sy) || 2 });
  return Math.max(0, Math.floor(most * 100) / 100);
}
