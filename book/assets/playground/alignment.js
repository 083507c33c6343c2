// Two lines of words and what joins them: hover over a word, or focus it, to see where it looks.
import { drawing, element, percent } from "./dom.js";
import { linksBothWays } from "./words.js";

const HEIGHT = 88; // of the space between the two lines, in pixels
const FAINT = 0.03; // a weight below this is not worth a line

export class AlignmentFigure {
  constructor(box) {
    this.box = box;
    new ResizeObserver(() => this.redraw()).observe(box);
  }

  // `map` (rows, columns) between words; `links` says whether to draw links while no word is chosen.
  show(map, { rows, columns, names, links }) {
    Object.assign(this, { map, rows, columns, chosen: null });
    this.resting = links ? linksBothWays(map).map(([r, c]) => [r, c, 1]) : this.all();
    this.svg = drawing("svg", { height: HEIGHT, "aria-hidden": "true" });
    this.top = this.line("columns", columns, names.columns);
    this.bottom = this.line("rows", rows, names.rows);
    this.note = element("p", { className: "pg-note" });
    this.idle = links
      ? "Lines join each word with the one that it looks at most, both ways. Point at a word, or go to it with the Tab key, for all its weights."
      : "The darker a line, the larger the weight. Point at a word, or go to it with the Tab key, to see its lines alone.";
    const canvas = element("div", { className: "pg-canvas" }, this.top, this.svg, this.bottom);
    const scroll = element("div", { className: "pg-scroll pg-words-box" }, canvas);
    this.box.replaceChildren(scroll, this.note);
    this.choose(null);
  }

  line(side, words, name) {
    const made = element("ol", { className: `pg-words pg-${side}`, ariaLabel: name });
    words.forEach((word, i) => {
      const button = element("button", { type: "button" }, word);
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.choose({ side, i }));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.choose(null));
      made.append(element("li", {}, button));
    });
    return made;
  }

  all() {
    return this.map.flatMap((row, r) => row.map((weight, c) => [r, c, weight])).filter(([, , w]) => w > FAINT);
  }

  choose(chosen) {
    this.chosen = chosen;
    const of = ([r, c]) => (chosen?.side === "rows" ? r : c) === chosen?.i;
    this.drawn = chosen ? this.all().filter(of) : this.resting;
    this.redraw();
    const other = chosen?.side === "rows" ? this.top : this.bottom;
    for (const list of [this.top, this.bottom]) {
      [...list.children].forEach((item, i) => {
        const link = chosen && list === other && this.drawn.find(([r, c]) => (chosen.side === "rows" ? c : r) === i);
        item.firstChild.style.setProperty("--weight", link ? link[2].toFixed(3) : 0);
        item.firstChild.classList.toggle("pg-chosen", Boolean(chosen) && list !== other && i === chosen.i);
      });
    }
    this.note.textContent = chosen ? this.sentence(chosen) : this.idle;
  }

  // What a focused word looks at, in words.
  sentence({ side, i }) {
    const [from, to] = side === "rows" ? [this.rows, this.columns] : [this.columns, this.rows];
    const most = this.drawn.map(([r, c, w]) => [to[side === "rows" ? c : r], w]).sort((a, b) => b[1] - a[1]).slice(0, 4);
    const list = most.map(([word, w]) => `${word} ${percent(w)}`).join(", ");
    const verb = side === "rows" ? "looks at" : "is looked at by";
    return list ? `${from[i]} ${verb}: ${list}.` : `${from[i]}: no weight above ${percent(FAINT)}.`;
  }

  redraw() {
    if (!this.svg) return;
    const frame = this.svg.getBoundingClientRect();
    const middle = (list, i) => {
      const place = list.children[i].getBoundingClientRect();
      return place.left + place.width / 2 - frame.left;
    };
    const lines = this.drawn.map(([r, c, weight]) => {
      const [x, y] = [middle(this.top, c), middle(this.bottom, r)];
      const bend = HEIGHT / 2;
      return drawing("path", {
        d: `M${x} 2 C${x} ${bend} ${y} ${bend} ${y} ${HEIGHT - 2}`,
        "stroke-opacity": Math.max(0.08, weight).toFixed(3),
        "stroke-width": (1.2 + 2 * weight).toFixed(2),
      });
    });
    this.svg.replaceChildren(...lines);
  }
}
