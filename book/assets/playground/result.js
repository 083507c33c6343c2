// What a finished translation leaves on the page: its tokens, its steps, where each of them looked.
import { breathe, element, french, headed, scrolling, visible } from "./dom.js";
import { Maps } from "./model.js";
import { gnmtPenalty, longestOutput, nextLogProbs, temper } from "./search.js";
import { stepOf } from "./steps.js";

const AT_ONCE = 16; // steps between two breaths

// Reads the translation once more, in one pass, for all its steps and all its attention.
export async function readAgain({ model }, source, found, on) {
  const { config } = model;
  const pass = await model.write([[config.bos_id, ...found.tokens]], found.memory, on);
  const limit = longestOutput(config, source.length);
  const steps = [];
  for (const token of [...found.tokens, config.eos_id]) {
    if (steps.length % AT_ONCE === 0) await breathe();
    const logProbs = nextLogProbs(pass.logits, steps.length, config, steps.length + 1 >= limit);
    steps.push(stepOf(found.temperature ? temper(logProbs, found.temperature) : logProbs, token));
  }
  return { pass, steps };
}

export function tokenLists({ model, tokenizer }, source, tokens) {
  const item = (id) => element("li", {}, element("span", {}, visible(tokenizer.pieces([id])[0])), element("small", {}, String(id)));
  const list = (name, lang, ids) => element("div", {},
    element("p", { className: "pg-title" }, name), element("ol", { lang, "aria-label": name }, ...ids.map(item)));
  return [list("English tokens", "en", source), list("French tokens", "fr", [...tokens, model.config.eos_id])];
}

// What a beam has finished, so that the effect of the length penalty can be read.
export function finishedTable({ tokenizer }, { ended, alpha }) {
  const number = (x) => element("td", { className: "pg-number" }, x.toFixed(2).replace("-", "\u2212"));
  const rows = ended.map(({ tokens, logProb, score }) => element("tr", {},
    element("td", { lang: "fr" }, french(tokenizer.decode(tokens))),
    number(logProb), number(gnmtPenalty(tokens.length + 1, alpha)), number(score)));
  const table = element("table", {}, headed(["output", "log-probability", "penalty", "score"], 1), element("tbody", {}, ...rows));
  return scrolling(table, "What the beam has finished, best score first: log-probability divided by length penalty.");
}

// One side of a map: labels of all its tokens, and which of them make up words.
export function side(tokenizer, lang, name, ids, all, shift = 0) {
  const groups = ids.length ? tokenizer.words(ids) : [];
  const words = groups.map((group) => tokenizer.raw(group.map((i) => ids[i])).trim());
  return {
    name,
    lang,
    labels: tokenizer.pieces(all).map(visible),
    words: lang === "fr" ? words.map(french) : words,
    groups: groups.map((group) => group.map((i) => i + shift)),
  };
}

// The three kinds of attention of one translation.  A French token is chosen in the row before it, so
// rows are labelled with what they choose, and columns with what they may look at.
export function kindsOf({ model, tokenizer }, source, found, pass) {
  const { bos_id, eos_id } = model.config;
  const english = side(tokenizer, "en", "English words", source.slice(0, -1), source);
  const written = side(tokenizer, "fr", "French words", found.tokens, [...found.tokens, eos_id]);
  const read = side(tokenizer, "fr", "French words before", found.tokens, [bos_id, ...found.tokens], 1);
  const subject = "each French token, as it is chosen,";
  return {
    cross: {
      title: "French looks at English (cross-attention)", subject, links: true,
      maps: new Maps(pass.cross), rows: written, columns: english,
    },
    encoder: {
      title: "English looks at English (encoder)", subject: "each English token", links: false,
      maps: found.memory.attention, rows: english, columns: { ...english, name: "English words, looked at" },
    },
    decoder: {
      title: "French looks at French (decoder)", subject, links: false,
      maps: new Maps(pass.self), rows: written, columns: read,
    },
  };
}
