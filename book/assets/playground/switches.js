// What can be taken away: heads, positions.
import { element } from "./dom.js";
import { everythingOn } from "./model.js";

const STACKS = { encoder: "Encoder, self-attention", decoder: "Decoder, self-attention", cross: "Decoder, cross-attention" };
const SHORT = { e: "encoder", d: "decoder, self-attention", c: "cross-attention" };

const isOn = (button) => button.getAttribute("aria-pressed") === "true";
const turn = (button, on) => button.setAttribute("aria-pressed", String(on));

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
      const button = element("button", { type: "button", "aria-pressed": "true", "aria-label": `${title}, layer ${l + 1}, head ${h + 1}` }, String(h + 1));
      button.addEventListener("click", () => {
        turn(button, !isOn(button));
        changed();
      });
      return button;
    }));
    const rows = this.heads[name].map((buttons, l) => row(`layer ${l + 1}`, `${title}, layer ${l + 1}`, buttons));
    return element("fieldset", {}, element("legend", {}, title), ...rows);
  }

  focus() {
    this.heads.encoder[0][0].focus();
  }

  // The numbers that the model takes.
  get on() {
    const on = everythingOn(this.config);
    for (const name of Object.keys(STACKS)) on[name] = this.heads[name].map((buttons) => buttons.map((button) => Number(isOn(button))));
    return { ...on, positions: Number(this.positions.checked) };
  }

  // What is off, as one short word for an address: "e1.2 c3.4 positions".
  get off() {
    const found = [];
    this.each((button, word) => {
      if (!isOn(button)) found.push(word);
    });
    return [...found, ...(this.positions.checked ? [] : ["positions"])].join(" ");
  }

  set off(text) {
    const off = new Set(text.split(" "));
    this.each((button, word) => turn(button, !off.has(word)));
    this.positions.checked = !off.has("positions");
  }

  each(action) {
    for (const [name, layers] of Object.entries(this.heads)) {
      layers.forEach((buttons, l) => buttons.forEach((button, h) => action(button, `${name[0]}${l + 1}.${h + 1}`)));
    }
  }
}

// A row of switches is one stop of the Tab key; the arrow keys go from one to the next.
function row(label, name, buttons) {
  const made = element("div", { className: "pg-layer", role: "toolbar", "aria-label": name }, element("span", {}, label), ...buttons);
  const stopAt = (stop) => buttons.forEach((button) => { button.tabIndex = button === stop ? 0 : -1; });
  stopAt(buttons[0]);
  made.addEventListener("focusin", (event) => stopAt(event.target));
  made.addEventListener("keydown", (event) => {
    const next = buttons[buttons.indexOf(event.target) + { ArrowLeft: -1, ArrowRight: 1 }[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  return made;
}

// What is off, in a sentence.
export function inWords(off) {
  const heads = [...off.matchAll(/([edc])(\d+)\.(\d+)/g)];
  const [[, stack, layer, head] = []] = heads;
  const found = [];
  if (heads.length === 1) found.push(`head ${head} of layer ${layer} (${SHORT[stack]})`);
  if (heads.length > 1) found.push(`${heads.length} heads`);
  if (off.includes("positions")) found.push("the positions");
  return found.join(" and ");
}
