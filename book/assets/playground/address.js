// The input lives in the address, behind the #, where back and forward find it and no server sees it.

const DEFAULTS = { s: "", by: "greedy", beam: "4", alpha: "0.6", t: "1", seed: "1", off: "" };

// What the address says, or null where it says nothing of a sentence: a heading's anchor, for example.
export function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  return found.has("s") ? { ...DEFAULTS, ...Object.fromEntries(found) } : null;
}

export function writeAddress(input) {
  const kept = Object.entries(input).filter(([name, value]) => name === "s" || String(value) !== DEFAULTS[name]);
  const hash = `#${new URLSearchParams(kept)}`;
  if (hash === location.hash) return;
  // the first sentence takes the place of the page as it was opened; each later one follows
  history[readAddress() ? "pushState" : "replaceState"](null, "", hash);
}
