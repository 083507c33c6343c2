// The page: what the reader does, and what follows from it.
import { addressOf, readAddress, remember, remembered, writeAddress } from "./address.js";
import { Ahead } from "./ahead.js";
import { AttentionView } from "./attention.js";
import { Controls } from "./controls.js";
import { breathe, element, french, inFrench, percent } from "./dom.js";
import { Overtaken, Refused } from "./errors.js";
import { EXAMPLES } from "./examples.js";
import { LoadError } from "./loader.js";
import { everythingOn } from "./model.js";
import { finishedTable, kindsOf, readAgain, tokenLists } from "./result.js";
import { longestOutput } from "./search.js";
import { Delivery } from "./start.js";
import { stepOf, stepRow, stepsTable } from "./steps.js";
import { inWords, Switches } from "./switches.js";

const $ = (id) => document.getElementById(`pg-${id}`);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const PAUSE = 70; // milliseconds between two tokens at most, for who likes to watch
const IN_ALL = 1500; // milliseconds that the pauses of one translation may take
const LONGEST = 10000; // characters, beyond which a text is not even cut into tokens
const EMPTY = "There is no sentence yet: type one in English.";

const count = (n) => n.toLocaleString("en");

function limit(name, n, unit, most, why = "") {
  if (n > most) throw new Refused(`The ${name} has ${count(n)} ${unit}, expected at most ${count(most)}${why}.`);
}

class Playground {
  constructor() {
    this.turn = 0; // which translation is the newest
    this.off = ""; // what the address switches off, until there are switches
    this.delivery = new Delivery();
    this.controls = new Controls($("form"));
    this.attention = new AttentionView($("attention"));
    this.ahead = new Ahead({ field: $("french-given"), mask: $("mask"), table: $("ahead"), maps: $("ahead-attention") });
    this.listen();
    this.put(remembered(window.bookPlace) ?? readAddress() ?? {});
    $("no-script").hidden = true;
    $("app").hidden = false;
  }

  listen() {
    const on = (id, event, action) => $(id).addEventListener(event, (happened) => {
      happened.preventDefault();
      this.guard(action);
    });
    on("form", "submit", () => this.translate());
    on("stop", "click", () => this.stop());
    on("retry", "click", () => this.retry());
    on("ahead-form", "submit", () => this.lookAhead());
    on("restore", "click", () => this.switchOn());
    $("mask").addEventListener("change", () => this.guard(() => this.lookAhead()));
    $("form").addEventListener("change", () => remember(this.input));
    $("form").addEventListener("input", () => this.ahead.belongs(this.setting));
    addEventListener("pagehide", () => remember(this.input));
    addEventListener("popstate", () => {
      const values = readAddress();
      if (values) this.guard(() => this.restore(values));
      else remember(this.input); // behind a heading's anchor the sentence stays
    });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) this.stop();
    });
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
    }
  }

  // -- what is asked for --------------------------------------------------------------------------------------------

  // All that an address keeps.
  get input() {
    return { ...this.controls.values, off: this.switches?.off ?? this.off };
  }

  put(input) {
    this.controls.values = input;
    this.off = input.off ?? "";
    if (this.switches) this.switches.off = this.off;
    this.ahead.belongs(this.setting);
  }

  // The English sentence and what is switched off: what the panel of the future belongs to.
  get setting() {
    return addressOf({ s: this.controls.english.trim(), off: this.input.off });
  }

  // Puts back what an address says and translates it if the model is there; what was typed there since comes back too.
  async restore(values) {
    const typed = remembered();
    this.put(values);
    const done = this.loaded && addressOf(values) !== this.shown && this.translate({ replace: true });
    if (typed) {
      this.put(typed);
      remember(typed);
    }
    await done;
  }

  // What is asked for, or a refusal, which leaves alone what is going on; null before there is a model.
  request() {
    const { search } = this.controls;
    const source = this.source();
    return source && { source, search, off: this.switches.off, on: this.switches.on };
  }

  source() {
    const ids = this.ids(this.controls.english, "sentence", EMPTY);
    return this.loaded ? [...ids, this.loaded.model.config.eos_id] : null;
  }

  // Ids that the model can read, beside the <bos> or <eos> that they will be given; null before there is a model.
  ids(text, name, ifEmpty) {
    if (!text.trim()) throw new Refused(ifEmpty);
    limit(name, text.length, "characters", LONGEST);
    if (!this.loaded) return null;
    const { tokenizer, model } = this.loaded;
    const ids = tokenizer.encode(text);
    if (!ids.length) throw new Refused(ifEmpty);
    limit(name, ids.length, "tokens", model.config.max_len - 1, ": the model reads no more at a time");
    return ids;
  }

  // -- start and stop -------------------------------------------------------------------------------------------------

  async start() {
    $("go").setAttribute("aria-disabled", "true"); // and not disabled, which would lose the focus
    $("progress").value = 0;
    $("progress-text").textContent = percent(0);
    $("progress-box").hidden = false;
    $("status").textContent = "Loading the model.";
    this.working(true);
    try {
      this.loaded = await this.delivery.load((share) => {
        $("progress").value = share;
        $("progress-text").textContent = percent(share);
      });
    } finally {
      this.loading = null;
      $("go").removeAttribute("aria-disabled");
      $("progress-box").hidden = true;
      this.working(false);
    }
    $("status").textContent = "The model is loaded.";
    this.switches = new Switches($("switches"), this.loaded.model.config, () => this.guard(() => this.translate({ pause: 0 })));
    this.switches.off = this.off;
    this.offer(EXAMPLES);
    $("go").textContent = "Translate";
    document.body.classList.add("pg-started");
    for (const field of $("ahead-form").elements) field.disabled = false;
  }

  async retry() {
    $("go").focus(); // the button that was pressed is gone
    await this.translate();
  }

  offer({ note, sentences, french: given }) {
    $("model-note").textContent = note;
    this.ahead.fill(given);
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

  // What is going on can be stopped, and what is drawn again meanwhile keeps its place.
  working(on) {
    if (!on && document.activeElement === $("stop")) $("go").focus();
    $("stop").hidden = !on;
    for (const id of ["result", "how"]) $(id).style.minHeight = on ? `${$(id).offsetHeight}px` : "";
  }

  // Whatever is going on, loading or translating; what belongs to an older sentence goes with it.
  stop() {
    if ($("stop").hidden) return;
    this.turn++;
    this.delivery.cancel();
    this.working(false);
    $("status").textContent = "Stopped.";
    if (!this.loaded) return;
    $("french").append(element("span", { lang: "en" }, " (stopped)"));
    $("tokens").replaceChildren();
    $("off-short").textContent = "";
    $("attention").hidden = $("off").hidden = true;
  }

  // -- translation ------------------------------------------------------------------------------------------------

  async translate({ replace = false, pause = PAUSE } = {}) {
    this.request();
    if (!this.loaded) await (this.loading ??= this.start());
    const asked = this.request();
    const turn = ++this.turn;
    const address = this.input;
    writeAddress(address, replace);
    this.shown = null;
    this.ahead.belongs(this.setting);
    $("result").hidden = false;
    this.working(true);
    try {
      await this.answer(asked, turn, pause);
      this.shown = addressOf(address);
    } finally {
      if (turn === this.turn) this.working(false);
    }
  }

  async answer({ source, search, off, on }, turn, pause) {
    const found = await this.decode(source, on, search, this.watcher(turn, source, pause));
    const everything = everythingOn(this.loaded.model.config);
    const intact = off ? await this.decode(source, everything, search, this.patience(turn)) : found;
    const { pass, steps } = await readAgain(this.loaded, source, found, on);
    this.newest(turn);
    this.show(source, found, pass, steps);
    this.compare(off, found, intact);
  }

  async decode(source, on, search, watch) {
    const { model } = this.loaded;
    const memory = await model.read(source, on);
    await breathe();
    return { ...await search(model, memory, on, longestOutput(model.config, source.length), watch), memory };
  }

  newest(turn) {
    if (turn !== this.turn) throw new Overtaken();
  }

  // Lets the browser draw between two steps, and gives up when something else has been asked for.
  patience(turn, wait = 0) {
    return async () => {
      await breathe(wait);
      this.newest(turn);
    };
  }

  // Shows the translation as it grows, with the candidates of each step where one token follows another.
  watcher(turn, source, pause) {
    const { tokenizer, model } = this.loaded;
    const pieces = (ids) => tokenizer.pieces(ids);
    const rest = this.patience(turn, calm.matches ? 0 : Math.min(pause, IN_ALL / longestOutput(model.config, source.length)));
    $("steps").replaceChildren(stepsTable([], pieces));
    $("beams").replaceChildren();
    const body = $("steps").querySelector("tbody");
    return async (tokens, logProbs) => {
      this.newest(turn);
      $("french").textContent = french(tokenizer.decode(tokens)) || "\u2026";
      if (logProbs) body.append(stepRow(stepOf(logProbs, tokens.at(-1)), tokens.length - 1, pieces));
      await rest();
    };
  }

  show(source, found, pass, steps) {
    const { tokenizer } = this.loaded;
    const text = tokenizer.decode(found.tokens);
    $("french").replaceChildren(inFrench(text, "(nothing: the model ends at once)"));
    if (text) this.ahead.fill(text);
    $("status").replaceChildren("The translation: ", element("span", { lang: "fr" }, inFrench(text, "nothing, the model ends at once")));
    $("tokens").replaceChildren(...tokenLists(this.loaded, source, found.tokens));
    $("steps").replaceChildren(stepsTable(steps, (ids) => tokenizer.pieces(ids), found.temperature));
    $("beams").replaceChildren(...(found.ended ? [finishedTable(this.loaded, found)] : []));
    $("attention").hidden = !found.tokens.length;
    if (found.tokens.length) this.attention.show(kindsOf(this.loaded, source, found, pass));
  }

  // The translation beside the one with everything on.
  compare(off, found, intact) {
    $("off").hidden = !off;
    $("off-short").textContent = off ? `Translated without ${inWords(off)}.` : "";
    if (!off) return;
    const [now, before] = [found, intact].map(({ tokens }) => this.loaded.tokenizer.decode(tokens));
    $("off-what").textContent = `Without ${inWords(off)}:`;
    $("off-now").replaceChildren(inFrench(now, "(nothing)"));
    $("off-before").replaceChildren(inFrench(before, "(nothing)"));
    $("off-verdict").textContent = now === before ? "The translation is the same." : "The translation is another one.";
    $("status").append(` Without ${inWords(off)}. ${$("off-verdict").textContent}`);
  }

  async switchOn() {
    this.switches.off = "";
    this.switches.focus(); // the button that was pressed will be gone
    await this.translate({ pause: 0 });
  }

  // -- the future -----------------------------------------------------------------------------------------------------

  async lookAhead() {
    if (!this.loaded) throw new Refused("The model is not there yet: press Start first.");
    const source = this.source();
    const given = this.ids($("french-given").value, "French sentence", "There is no French sentence to read: type one.");
    $("status").textContent = await this.ahead.read(this.loaded, { source, given, on: this.switches.on }, () => this.setting);
  }
}

new Playground();
