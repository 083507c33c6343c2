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
  show(map, { rows, columns, links }) {
    Object.assign(this, { map, rows, columns, focused: null });
    this.resting = links ? linksBothWays(map).map(([r, c]) => [r, c, 1]) : this.all();
    this.svg = drawing("svg", { height: HEIGHT, "aria-hidden": "true" });
    this.top = this.line("columns", columns);
    this.bottom = this.line("rows", rows);
    this.note = element("p", { className: "pg-note" });
    this.idle = links
      ? "Lines join each word with the one that it looks at most, both ways. Point at a word, or go to it with the Tab key, for all its weights."
      : "The darker a line, the larger the weight. Point at a word, or go to it with the Tab key, to see its lines alone.";
    const canvas = element("div", { className: "pg-canvas" }, this.top, this.svg, this.bottom);
    this.box.replaceChildren(element("div", { className: "pg-scroll" }, canvas), this.note);
    this.choose(null);
  }

  line(side, { words, name, lang }) {
    const made = element("ol", { className: `pg-words pg-${side}`, "aria-label": name, lang });
    words.forEach((word, i) => {
      const button = element("button", { type: "button" }, word);
      const focus = (chosen) => this.choose((this.focused = chosen));
      button.addEventListener("pointerenter", () => this.choose({ side, i }));
      button.addEventListener("pointerleave", () => this.choose(this.focused));
      button.addEventListener("focus", () => focus({ side, i }));
      button.addEventListener("blur", () => focus(null));
      button.addEventListener("click", () => button.focus()); // a tap focuses in some browsers only
      made.append(element("li", {}, button));
    });
    return made;
  }

  all() {
    return this.map.flatMap((row, r) => row.map((weight, c) => [r, c, weight])).filter(([, , w]) => w > FAINT);
  }

  choose(chosen) {
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
    this.note.replaceChildren(...(chosen ? this.sentence(chosen) : [this.idle]));
  }

  // What a chosen word looks at, in words.
  sentence({ side, i }) {
    const [from, to] = side === "rows" ? [this.rows, this.columns] : [this.columns, this.rows];
    const word = ({ words, lang }, n) => element("span", { lang }, words[n]);
    const most = this.drawn.map(([r, c, w]) => [side === "rows" ? c : r, w]).sort((a, b) => b[1] - a[1]).slice(0, 4);
    const list = most.flatMap(([n, w], place) => [place ? ", " : "", word(to, n), ` ${percent(w)}`]);
    const elsewhere = side === "rows" ? 1 - this.map[i].reduce((sum, w) => sum + w, 0) : 0;
    const rest = elsewhere > FAINT ? `; ${percent(elsewhere)} lies on tokens that are no words.` : ".";
    if (!most.length) return [word(from, i), `: no weight above ${percent(FAINT)}${rest}`];
    return [word(from, i), side === "rows" ? " looks at: " : " is looked at by: ", ...list, rest];
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
