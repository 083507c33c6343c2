// A heat map that is a table: who cannot see the colours reads, or hears, the numbers.
import { element, scrolling } from "./dom.js";

// `map` has a row for each label of `rows`, a column for each of `columns`, which say their language; weights from 0 to 1.
export function heatMap(map, { rows, columns, caption, corner }) {
  const head = element("tr", {}, element("td", { className: "pg-corner" }, corner),
    ...columns.labels.map((label) => element("th", { scope: "col", lang: columns.lang }, element("span", {}, label))));
  const body = map.map((weights, r) => element("tr", {},
    element("th", { scope: "row", lang: rows.lang }, rows.labels[r]),
    ...weights.map((weight) => cell(weight))));
  const table = element("table", { className: "pg-map" },
    element("thead", {}, head), element("tbody", {}, ...body));
  table.classList.toggle("pg-dense", columns.labels.length > 14);
  table.addEventListener("pointerover", (event) => cross(table, event.target.closest("td, th")));
  table.addEventListener("pointerleave", () => cross(table, null));
  return scrolling(table, caption);
}

function cell(weight) {
  const made = element("td", {}, (100 * weight).toFixed(0));
  made.style.setProperty("--weight", weight.toFixed(4));
  made.classList.toggle("pg-zero", weight < 0.005);
  // numbers stay legible on their colour: in the light a dark cell begins later than in the dark
  made.classList.toggle("pg-over-light", weight > 0.82);
  made.classList.toggle("pg-over-dark", weight > 0.58);
  return made;
}

// Follow the pointer with its row and column.
function cross(table, target) {
  const column = target?.cellIndex ?? -1;
  for (const row of table.rows) {
    for (const found of row.cells) {
      const inRow = row === target?.parentElement && row.parentElement.tagName === "TBODY";
      found.classList.toggle("pg-crossed", found.tagName === "TH" && (inRow || (column > 0 && found.cellIndex === column && row.parentElement.tagName === "THEAD")));
    }
  }
}
