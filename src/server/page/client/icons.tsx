/** Drawn here, 20 by 20, in the colour of the text. */
import type { Child } from "hono/jsx";

function Icon({ children }: { children: Child }) {
  return (
    <svg
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const Dice = () => (
  <Icon>
    <rect x="3" y="3" width="14" height="14" rx="3.5" />
    <path d="M7 7h.01M13 7h.01M10 10h.01M7 13h.01M13 13h.01" stroke-width="2.2" />
  </Icon>
);

export const Lock = ({ open }: { open: boolean }) => (
  <Icon>
    <rect x="4" y="9" width="12" height="8" rx="2" />
    <path d={open ? "M7 9V6a3 3 0 0 1 5.8-1" : "M7 9V6a3 3 0 0 1 6 0v3"} />
  </Icon>
);

export const Download = () => (
  <Icon>
    <path d="M10 3v9m-3.5-3.5L10 12l3.5-3.5M4 16h12" />
  </Icon>
);

export const Reuse = () => (
  <Icon>
    <path d="M15.5 8A6 6 0 0 0 5 6.5L3.5 8m0-4v4h4M4.5 12A6 6 0 0 0 15 13.5l1.5-1.5m0 4v-4h-4" />
  </Icon>
);

export const Bin = () => (
  <Icon>
    <path d="M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6" />
  </Icon>
);

/** Two tokens that become one. */
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
    <rect width="32" height="32" rx="9" fill="var(--accent)" />
    <path
      d="M8 9h4c4 0 4 7 8 7M8 23h4c4 0 4-7 8-7"
      fill="none"
      stroke="var(--on-accent)"
      stroke-width="3"
      stroke-linecap="round"
    />
    <circle cx="23" cy="16" r="4" fill="var(--on-accent)" />
  </svg>
);
