// The page: what the reader does, and what follows from it.
import { readAddress, writeAddress } from "./address.js";
import { AttentionView } from "./attention.js";
import { Controls } from "./controls.js";
import { element, percent } from "./dom.js";
import { Overtaken, Refused } from "./errors.js";
import { examplesOf } from "./examples.js";
import { futureKind, futureTable, onTheFuture, readBothWays } from "./future.js";
import { LoadError } from "./loader.js";
import { everythingOn, Maps } from "./model.js";
import { finishedTable, kindsOf, readAgain, tokenLists } from "./result.js";
import { longestOutput } from "./search.js";
import { load } from "./start.js";
import { stepOf, stepRow, stepsTable } from "./steps.js";
import { inWords, Switches } from "./switches.js";

const $ = (id) => document.getElementById(`pg-${id}`);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const PAUSE = 70; // milliseconds between two tokens, for who likes to watch
const EMPTY = "There is no sentence yet: type one in English.";

class Playground {
  constructor() {
    this.turn = 0; // which translation is the newest, and below, which reading
    this.aheadTurn = 0;
    this.off = ""; // what the address switches off, until there are switches
    this.controls = new Controls($("form"));
    this.attention = new AttentionView($("attention"));
    this.ahead = new AttentionView($("ahead-attention"));
    const on = (id, event, action) => $(id).addEventListener(event, (happened) => {
      happened.preventDefault();
      this.guard(action);
    });
    on("form", "submit", () => this.translate());
    on("retry", "click", () => this.translate(true));
    on("ahead-form", "submit", () => this.lookAhead());
    on("restore", "click", () => this.restore({ off: "" }));
    $("mask").addEventListener("change", () => this.guard(() => this.lookAhead()));
    addEventListener("popstate", () => this.guard(() => this.restore(readAddress())));
    this.restore(readAddress());
    $("no-script").hidden = true;
    $("app").hidden = false;
  }

  // What goes wrong becomes a sentence, and the page lives on.
  async guard(action) {
    $("alert").textContent = "";
    $("retry").hidden = true;
    try {
      await action();
    } catch (error) {
      if (error instanceof Overtaken) return;
      const known = error instanceof Refused || error instanceof LoadError;
      if (!known) console.warn(error);
      $("alert").textContent = known ? error.message : `Something went wrong that should not have: ${error.message}`;
      $("retry").hidden = error instanceof Refused || Boolean(this.loaded);
    } finally {
      $("progress-box").hidden = !this.loading;
    }
  }

  // Puts back what an address says, and translates it if the model is there.
  async restore(values) {
    this.controls.values = values ?? {};
    if (values) this.off = values.off;
    if (!values || !this.loaded) return;
    this.switches.off = values.off;
    await this.translate();
  }

  // -- start ------------------------------------------------------------------------------------------------------

  async start(again) {
    $("go").disabled = true;
    $("progress-box").hidden = false;
    $("status").textContent = "Loading the model.";
    try {
      this.loaded = await load((share) => {
        $("progress").value = share;
        $("progress-text").textContent = percent(share);
      }, again);
    } finally {
      $("go").disabled = false;
      this.loading = null;
    }
    this.switches = new Switches($("switches"), this.loaded.model.config, () => this.guard(() => this.translate()));
    this.switches.off = this.off;
    this.offer(examplesOf(this.loaded.name));
    $("go").textContent = "Translate";
    document.body.classList.add("pg-started");
    for (const field of $("ahead-form").elements) field.disabled = false;
  }

  offer({ note, sentences, french }) {
    $("model-note").textContent = note;
    $("french-given").value ||= french;
    const buttons = sentences.map((sentence) => {
      const button = element("button", { type: "button" }, sentence);
      button.addEventListener("click", () => {
        this.controls.english = sentence;
        this.guard(() => this.translate());
      });
      return button;
    });
    $("examples").replaceChildren(element("span", {}, "For example:"), ...buttons);
  }

  // -- translation ------------------------------------------------------------------------------------------------

  async translate(again = false) {
    const turn = ++this.turn;
    if (!this.controls.english.trim()) throw new Refused(EMPTY);
    if (!this.loaded) await (this.loading ??= this.start(again));
    if (turn !== this.turn) throw new Overtaken();
    const { search } = this.controls;
    const source = this.sourceIds();
    const { off, on } = this.switches;
    writeAddress({ ...this.controls.values, off });
    $("result").hidden = false;
    const found = await this.decode(source, on, search, this.watcher(turn));
    const everything = everythingOn(this.loaded.model.config);
    const intact = off ? await this.decode(source, everything, search, this.patience(turn)) : found;
    const { pass, steps } = await readAgain(this.loaded, source, found, on);
    if (turn !== this.turn) throw new Overtaken();
    this.show(source, found, pass, steps);
    this.compare(off, found, intact);
  }

  sourceIds() {
    const { tokenizer, model } = this.loaded;
    return [...this.checked(tokenizer.encode(this.controls.english), "sentence", EMPTY), model.config.eos_id];
  }

  // Ids that the model can read, beside the <bos> or <eos> that they will be given.
  checked(ids, name, ifEmpty) {
    const most = this.loaded.model.config.max_len - 1;
    if (!ids.length) throw new Refused(ifEmpty);
    if (ids.length > most) throw new Refused(`The ${name} has ${ids.length.toLocaleString("en")} tokens, expected at most ${most}: the model reads no more at a time.`);
    return ids;
  }

  async decode(source, on, search, watch) {
    const { model } = this.loaded;
    const memory = await model.read(source, on);
    return { ...await search(model, memory, on, longestOutput(model.config, source.length), watch), memory };
  }

  // Lets the browser draw between two steps, and gives up when something else has been asked for.
  patience(turn, wait = 0) {
    return async () => {
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (turn !== this.turn) throw new Overtaken();
    };
  }

  // Shows the translation as it grows, with the candidates of each step where one token follows another.
  watcher(turn) {
    const { tokenizer } = this.loaded;
    const pieces = (ids) => tokenizer.pieces(ids);
    const rest = this.patience(turn, calm.matches ? 0 : PAUSE);
    $("steps").replaceChildren(stepsTable([], pieces));
    $("beams").replaceChildren();
    const body = $("steps").querySelector("tbody");
    return async (tokens, logProbs) => {
      $("french").textContent = tokenizer.decode(tokens) || "\u2026";
      if (logProbs) body.append(stepRow(stepOf(logProbs, tokens.at(-1)), tokens.length - 1, pieces));
      await rest();
    };
  }

  show(source, found, pass, steps) {
    const { tokenizer } = this.loaded;
    const text = tokenizer.decode(found.tokens);
    $("french").textContent = text || "(nothing: the model ends at once)";
    $("french-given").value = text || $("french-given").value;
    $("status").textContent = `The translation: ${text || "nothing, the model ends at once"}`;
    $("tokens").replaceChildren(...tokenLists(this.loaded, source, found.tokens));
    $("steps").replaceChildren(stepsTable(steps, (ids) => tokenizer.pieces(ids)));
    $("beams").replaceChildren(...(found.ended ? [finishedTable(this.loaded, found.ended, this.controls.alpha)] : []));
    $("attention").hidden = !found.tokens.length;
    if (found.tokens.length) this.attention.show(kindsOf(this.loaded, source, found, pass));
  }

  // The translation beside the one with everything on.
  compare(off, found, intact) {
    $("off").hidden = !off;
    $("off-short").textContent = off ? `Translated without ${inWords(off)}.` : "";
    if (!off) return;
    const [now, before] = [found, intact].map(({ tokens }) => this.loaded.tokenizer.decode(tokens) || "(nothing)");
    $("off-what").textContent = `Without ${inWords(off)}:`;
    $("off-now").textContent = now;
    $("off-before").textContent = before;
    $("off-verdict").textContent = now === before ? "The translation is the same." : "The translation is another one.";
    $("status").textContent += ` Without ${inWords(off)}. ${$("off-verdict").textContent}`;
  }

  // -- the future -----------------------------------------------------------------------------------------------------

  async lookAhead() {
    const turn = ++this.aheadTurn;
    if (!this.loaded) throw new Refused("The model is not there yet: press Start first.");
    const given = this.checked(this.loaded.tokenizer.encode($("french-given").value), "French sentence", "There is no French sentence to read: type one.");
    const passes = await readBothWays(this.loaded, this.sourceIds(), given, this.switches.on);
    if (turn !== this.aheadTurn) throw new Overtaken();
    const mask = $("mask").checked;
    const maps = new Maps((mask ? passes.masked : passes.open).self);
    $("ahead").replaceChildren(futureTable(this.loaded, given, passes, maps, mask ? "on" : "off"));
    $("ahead-attention").hidden = false;
    this.ahead.show(futureKind(this.loaded, given, maps));
    $("status").textContent = mask ? "With the mask on, no weight lies on the future."
      : `With the mask off, up to ${percent(Math.max(...onTheFuture(maps)))} of a position's weight lies on the future.`;
  }
}

new Playground();
