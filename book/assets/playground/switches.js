// What can be taken away: heads, positions.
import { element } from "./dom.js";
import { everythingOn } from "./model.js";

const STACKS = { encoder: "Encoder, self-attention", decoder: "Decoder, self-attention", cross: "Decoder, cross-attention" };

export class Switches {
  constructor(box, config, changed) {
    this.config = config;
    this.heads = {};
    this.positions = element("input", { type: "checkbox", checked: true });
    this.positions.addEventListener("change", changed);
    const grids = Object.entries(STACKS).map(([name, title]) => this.grid(name, title, changed));
    box.replaceChildren(
      element("div", { className: "pg-stacks" }, ...grids),
      element("p", {}, element("label", { className: "pg-check" }, this.positions, " positions are added to the embeddings")));
  }

  grid(name, title, changed) {
    const layers = everythingOn(this.config)[name];
    this.heads[name] = layers.map((heads, l) => heads.map((_, h) => {
      const button = element("button", { type: "button", ariaPressed: "true", ariaLabel: `${title}, layer ${l + 1}, head ${h + 1}` }, String(h + 1));
      button.addEventListener("click", () => {
        button.ariaPressed = String(button.ariaPressed !== "true");
        changed();
      });
      return button;
    }));
    const rows = this.heads[name].map((buttons, l) =>
      element("div", { className: "pg-layer" }, element("span", {}, `layer ${l + 1}`), ...buttons));
    return element("fieldset", {}, element("legend", {}, title), ...rows);
  }

  // The numbers that the model takes.
  get on() {
    const on = everythingOn(this.config);
    for (const name of Object.keys(STACKS)) {
      on[name] = this.heads[name].map((row) => row.map((button) => Number(button.ariaPressed === "true")));
    }
    return { ...on, positions: Number(this.positions.checked) };
  }

  // What is off, as one short word for an address: "e1.2 c3.4 positions".
  get off() {
    const found = [];
    for (const [name, layers] of Object.entries(this.heads)) {
      layers.forEach((row, l) => row.forEach((button, h) => {
        if (button.ariaPressed !== "true") found.push(`${name[0]}${l + 1}.${h + 1}`);
      }));
    }
    return [...found, ...(this.positions.checked ? [] : ["positions"])].join(" ");
  }

  set off(text) {
    const off = new Set(text.split(" "));
    for (const [name, layers] of Object.entries(this.heads)) {
      layers.forEach((row, l) => row.forEach((button, h) => {
        button.ariaPressed = String(!off.has(`${name[0]}${l + 1}.${h + 1}`));
      }));
    }
    this.positions.checked = !off.has("positions");
  }
}

// The same in a sentence.
export function inWords(off) {
  const parts = off.split(" ").filter(Boolean);
  const heads = parts.filter((part) => part !== "positions").length;
  const found = [];
  if (heads) found.push(heads === 1 ? "one head" : `${heads} heads`);
  if (heads < parts.length) found.push("the positions");
  return found.join(" and ");
}
