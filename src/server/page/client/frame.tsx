import { useEffect, useState } from "hono/jsx/dom";
import type { ModelInfo } from "../../../pipeline/options.ts";
import { Logo } from "./icons.tsx";

const THEMES = [["", "System"], ["light", "Light"], ["dark", "Dark"]];
const KEY = "tome-edge theme";

export function Header({ info }: { info?: ModelInfo }) {
  return (
    <header>
      <Logo />
      <div>
        <h1>tome-edge</h1>
        <p class="hint" id="device">
          {info ? `${info.name} on ${info.device}` : "The model is being loaded …"}
        </p>
      </div>
      <nav aria-label="References">
        <a href="/docs">HTTP reference</a>
        <a href="/openapi.json">OpenAPI</a>
        <Theme />
      </nav>
    </header>
  );
}

function Theme() {
  const [theme, setTheme] = useState(() => {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  });
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Storage is denied: the choice lasts as long as the page.
    }
  }, [theme]);
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select
        id="theme"
        value={theme}
        onChange={(e: Event) => setTheme((e.target as HTMLSelectElement).value)}
      >
        {THEMES.map(([name, label]) => (
          <option key={name} value={name} selected={name === theme}>{label}</option>
        ))}
      </select>
    </label>
  );
}

/** Addresses within a text become links. */
function linked(text: string) {
  return text.split(/(https?:\/\/[^\s)]+)/).map((part, i) =>
    i % 2 ? <a key={i} href={part}>{part}</a> : part
  );
}

export function Footer({ info }: { info?: ModelInfo }) {
  return (
    <footer>
      {info?.attribution ? <p id="attribution">{linked(info.attribution)}</p> : null}
      <p>
        Token merging: <a href="https://arxiv.org/abs/2303.17604">Bolya and Hoffman, 2023</a>.{" "}
        <a href="/page.licenses.txt">Licences of what this page holds</a>
      </p>
    </footer>
  );
}
