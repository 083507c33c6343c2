// Elements from words.  Strings become text nodes, never markup: what a reader types stays text.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function drawing(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A space is part of most tokens; shown as it is, nobody would see it.
export const visible = (piece) => piece.replaceAll(" ", "\u00b7") || "\u2205";

export const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : (100 * p).toFixed(1)) + "\u202f%";

// French as it is printed: its signs stand off by spaces that do not break.  For the eye only, never for the model.
export const french = (text) => text
  .replace(/(\p{L})'/gu, "$1\u2019")
  .replace(/([^\s([\u00ab?!;]) ?([?!;]+)(?=[\s\u00bb")\]]|$)/g, "$1\u202f$2")
  .replace(/(\S) ?:(?=\s|$)/g, "$1\u00a0:")
  .replace(/\u00ab ?/g, "\u00ab\u00a0").replace(/ ?\u00bb/g, "\u00a0\u00bb");

// French for an element that is marked as French, or a remark in English where there is none.
export const inFrench = (text, otherwise) => (text ? french(text) : element("span", { lang: "en" }, otherwise));

// A table that scrolls by itself when it is too wide, under a line that says what it shows.
export function scrolling(table, caption) {
  table.setAttribute("aria-label", caption);
  const box = element("div", { className: "pg-scroll", tabIndex: 0, role: "region", "aria-label": caption }, table);
  return element("div", { className: "pg-table" }, element("p", { className: "pg-caption" }, caption), box);
}

// The columns from `numbers` on hold numbers.
export const headed = (titles, numbers = titles.length) => element("thead", {}, element("tr", {}, ...titles.map(
  (title, i) => element("th", { scope: "col", className: i < numbers ? "" : "pg-number" }, title))));

// Lets the browser draw, and the reader press something, between two long pieces of work.
export const breathe = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds));
