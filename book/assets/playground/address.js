// The input lives in the address, behind the #, where back and forward find it and no server sees it.

const DEFAULTS = { s: "", by: "greedy", beam: "5", alpha: "0.6", t: "1", seed: "1", off: "" };

// The one form of an address for `input`: known names in one order, nothing that goes without saying.
export function addressOf(input) {
  const kept = Object.keys(DEFAULTS).filter((name) => name === "s" || String(input[name] ?? DEFAULTS[name]) !== DEFAULTS[name]);
  return `#${new URLSearchParams(kept.map((name) => [name, input[name] ?? DEFAULTS[name]]))}`;
}

// What the address says, or null where it says nothing of a sentence: a heading's anchor, for example.
export function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  if (!found.has("s")) return null;
  return Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, found.get(name) ?? DEFAULTS[name]]));
}

// A new input is a new place in the history, unless it `replace`s one; another form of the same is not.
export function writeAddress(input, replace) {
  const address = addressOf(input);
  const now = readAddress();
  if (!now || replace || addressOf(now) === address) {
    history.replaceState(null, "", address);
  } else {
    history.replaceState(null, ""); // the place that is left remembers what was sent, not what was typed since
    history.pushState(null, "", address);
  }
}

// What has been typed and not been sent, or was sent before the address became a heading's.
export const remember = (input) => history.replaceState({ input }, "");
export const remembered = (place = history.state) => place?.input ?? null;
