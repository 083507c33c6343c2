// The form: what is typed, which search is chosen, and the numbers that go with it.
import { Refused } from "./errors.js";
import { beamSearch, greedySearch, sample } from "./search.js";

export class Controls {
  constructor(form) {
    this.form = form;
    for (const radio of form.elements.namedItem("by")) radio.addEventListener("change", () => this.fit());
    const english = form.elements.namedItem("s");
    english.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
  }

  // All fields by name, as an address keeps them.
  get values() {
    return Object.fromEntries(new FormData(this.form));
  }

  set values(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.form.elements.namedItem(name);
      if (field) field.value = value;
    }
    this.fit();
  }

  get english() {
    return this.form.elements.namedItem("s").value;
  }

  set english(text) {
    this.form.elements.namedItem("s").value = text;
  }

  // Only the numbers that the chosen search takes are shown.
  fit() {
    const { by } = this.values;
    for (const label of this.form.querySelectorAll("[data-by]")) label.hidden = label.dataset.by !== by;
  }

  number(name, low, high, whole = false) {
    const field = this.form.elements.namedItem(name);
    const value = field.valueAsNumber;
    if (value >= low && value <= high && (!whole || Number.isInteger(value))) return value;
    throw new Refused(`The ${field.dataset.name} is ${field.value || "empty"}, expected a ${whole ? "whole " : ""}number from ${low} to ${high}.`);
  }

  // The chosen search with its settings: (model, memory, on, limit, watch) => a hypothesis.
  get search() {
    const { by } = this.values;
    if (by === "beam") {
      const settings = { size: this.number("beam", 1, 20, true), alpha: this.number("alpha", 0, 10) };
      return (model, memory, on, limit, watch) => beamSearch(model, memory, on, limit, settings, watch);
    }
    if (by === "sample") {
      const settings = { temperature: this.number("t", 0.05, 10), seed: this.number("seed", 0, 4294967295, true) };
      return (model, memory, on, limit, watch) => sample(model, memory, on, limit, settings, watch);
    }
    return greedySearch;
  }
}
