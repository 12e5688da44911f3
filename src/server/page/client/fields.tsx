import type { Child } from "hono/jsx";
import type { Problem } from "./api.ts";

/** The message of a problem with this field, if that is what it is about. */
export function errorOf(problem: Problem | null, ...params: string[]): string | undefined {
  return problem?.param !== undefined && params.includes(problem.param) ? problem.message : undefined;
}

export function Field(
  { id, label, hint, error, children }: {
    id: string;
    label: string;
    hint?: Child;
    error?: string;
    children: Child;
  },
) {
  return (
    <div class={error ? "field wrong" : "field"}>
      <label for={id}>{label}</label>
      {children}
      {hint ? <p class="hint" id={`${id}-hint`}>{hint}</p> : null}
      <FieldError id={id} error={error} />
    </div>
  );
}

/** What is wrong, next to what it is wrong with. */
export function FieldError({ id, error }: { id: string; error?: string }) {
  return error ? <p class="error" id={`${id}-error`} role="alert">{error}</p> : null;
}

/** For the element that a `Field` is about. */
export function described(id: string, { hint, error }: { hint?: unknown; error?: string }) {
  const ids = [error && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(" ");
  return {
    id,
    "aria-invalid": error ? "true" : undefined,
    "aria-describedby": ids || undefined,
  };
}

export function NumberField(
  { id, label, hint, error, value, onValue, min, max, step = "1", placeholder }: {
    id: string;
    label: string;
    hint?: Child;
    error?: string;
    value: string;
    onValue: (value: string) => void;
    min?: number;
    max?: number;
    step?: string;
    placeholder?: string | number;
  },
) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <input
        {...described(id, { hint, error })}
        type="number"
        inputmode="decimal"
        value={value}
        min={min}
        max={max}
        step={step}
        placeholder={placeholder === undefined ? undefined : String(placeholder)}
        onInput={(e: InputEvent) => onValue((e.target as HTMLInputElement).value)}
      />
    </Field>
  );
}

export function SelectField(
  { id, label, hint, error, value, onValue, options }: {
    id: string;
    label: string;
    hint?: Child;
    error?: string;
    value: string;
    onValue: (value: string) => void;
    options: readonly (readonly [value: string, label: string])[];
  },
) {
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <select
        {...described(id, { hint, error })}
        value={value}
        onChange={(e: Event) => onValue((e.target as HTMLSelectElement).value)}
      >
        {options.map(([name, label]) => (
          <option key={name} value={name} selected={name === value}>{label}</option>
        ))}
      </select>
    </Field>
  );
}

export function CheckField(
  { id, label, checked, onChecked }: {
    id: string;
    label: string;
    checked: boolean;
    onChecked: (checked: boolean) => void;
  },
) {
  return (
    <label class="check" for={id}>
      <input
        id={id}
        type="checkbox"
        checked={checked}
        onChange={(e: Event) => onChecked((e.target as HTMLInputElement).checked)}
      />
      <span>{label}</span>
    </label>
  );
}
