// One place to look at attention: choose whose, which layer and which head, see words and tokens.
import { AlignmentFigure } from "./alignment.js";
import { element } from "./dom.js";
import { heatMap } from "./heatmap.js";
import { wordMap } from "./words.js";

const option = (value, text) => element("option", { value: String(value) }, text);
const choice = (value) => (value === "mean" ? value : Number(value));

export class AttentionView {
  constructor(box) {
    this.box = box;
    this.kind = element("select");
    this.layer = element("select");
    this.head = element("select");
    this.figure = new AlignmentFigure(element("div", { className: "pg-alignment" }));
    this.map = element("div");
    const label = (text, select) => element("label", {}, text, select);
    this.pickers = element("div", { className: "pg-pickers" },
      label("Attention", this.kind), label("Layer", this.layer), label("Head", this.head));
    box.replaceChildren(this.pickers, this.figure.box, this.map);
    for (const select of [this.kind, this.layer, this.head]) {
      select.addEventListener("change", () => {
        if (select === this.kind) this.fillLayers(false);
        this.draw();
      });
    }
  }

  // `kinds` by name: title, maps, labels of rows and columns, groups of tokens that are words.
  show(kinds) {
    const before = this.kind.value;
    this.kinds = kinds;
    this.kind.replaceChildren(...Object.entries(kinds).map(([name, kind]) => option(name, kind.title)));
    if (kinds[before]) this.kind.value = before;
    this.pickers.classList.toggle("pg-one-kind", Object.keys(kinds).length === 1);
    this.fillLayers(true);
    this.draw();
  }

  // The last layer and the mean of the heads, where the book reads alignments, unless others are chosen: `keep` the layer?
  fillLayers(keep) {
    const { maps } = this.kinds[this.kind.value];
    const fill = (select, n, what, first, kept = select.value) => {
      select.replaceChildren(...Array.from({ length: n }, (_, i) => option(i, `${what} ${i + 1}`)), option("mean", `mean of all`));
      select.value = [...select.options].some((o) => o.value === kept) ? kept : String(first);
    };
    fill(this.layer, maps.layers, "layer", maps.layers - 1, keep ? undefined : "");
    fill(this.head, maps.heads, "head", "mean");
  }

  draw() {
    const kind = this.kinds[this.kind.value];
    const map = kind.maps.pick(choice(this.layer.value), choice(this.head.value));
    const { rows, columns } = kind;
    const where = `${this.layer.selectedOptions[0].text}, ${this.head.selectedOptions[0].text}`
      .replace("mean of all, mean of all", "mean of all layers and heads")
      .replace(/^mean of all,/, "mean of all layers,").replace(/, mean of all$/, ", mean of all heads");
    this.figure.show(wordMap(map, rows.groups, columns.groups), { rows, columns, links: kind.links });
    this.map.replaceChildren(heatMap(map, {
      rows, columns, corner: "%",
      caption: `${kind.title}, ${where}: each row says, in per cent, where ${kind.subject} looks.`,
    }));
  }
}
