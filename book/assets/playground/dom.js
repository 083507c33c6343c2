// Elements from words.  Strings become text nodes, never markup: what a reader types stays text.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== "style") made[name] = value;
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

// A table that scrolls by itself when it is too wide, under a line that says what it shows.
export function scrolling(table, caption) {
  table.ariaLabel = caption;
  const box = element("div", { className: "pg-scroll", tabIndex: 0, role: "region", ariaLabel: caption }, table);
  return element("div", { className: "pg-table" }, element("p", { className: "pg-caption" }, caption), box);
}

export const headed = (titles) => element("thead", {},
  element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
