export type View = "picture" | "compare" | "map" | "ratios";

const VIEWS: [view: View, name: string][] = [
  ["picture", "Picture"],
  ["compare", "Compare"],
  ["map", "Merge map"],
  ["ratios", "Ratios"],
];

export function Tabs({ view, onView }: { view: View; onView: (view: View) => void }) {
  const move = (e: KeyboardEvent) => {
    const at = VIEWS.findIndex(([name]) => name === view);
    const to = e.key === "ArrowRight"
      ? at + 1
      : e.key === "ArrowLeft"
      ? at - 1
      : e.key === "Home"
      ? 0
      : e.key === "End"
      ? VIEWS.length - 1
      : undefined;
    if (to === undefined) return;
    e.preventDefault();
    const [next] = VIEWS[(to + VIEWS.length) % VIEWS.length];
    onView(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" onKeydown={move}>
      {VIEWS.map(([name, label]) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={`tab-${name}`}
          aria-selected={name === view ? "true" : "false"}
          aria-controls="panel"
          tabindex={name === view ? 0 : -1}
          onClick={() => onView(name)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}

export function panelProps(view: View) {
  return { role: "tabpanel", id: "panel", class: "panel", "aria-labelledby": `tab-${view}` };
}
