// One row for each step: the five most probable tokens, and the one that was written.
import { element, headed, percent, scrolling, visible } from "./dom.js";
import { best } from "./search.js";

const TITLES = ["most probable", "2nd", "3rd", "4th", "5th"];
const SHOWN = TITLES.length;

// What a step needs to be drawn: candidates with their probabilities, and which was taken.
export function stepOf(logProbs, token) {
  const candidates = best(logProbs, SHOWN).map((id) => ({ id, p: Math.exp(logProbs[id]) })).filter(({ p }) => p > 0);
  return { token, p: Math.exp(logProbs[token]), candidates };
}

// `temperature` is that of a sample; its probabilities are those that were drawn from.
export function stepsTable(steps, pieces, temperature) {
  const table = element("table", { className: "pg-steps" }, headed(["step", "writes", ...TITLES]),
    element("tbody", {}, ...steps.map((step, i) => stepRow(step, i, pieces))));
  const drawn = temperature ? `, with the probabilities that they are drawn with at temperature ${temperature}` : "";
  return scrolling(table, `The five most probable next tokens at each step${drawn}. A dot stands for a space; the token that was written is framed.`);
}

export function stepRow(step, number, pieces) {
  const token = (id, p) => [element("span", { lang: "fr" }, visible(pieces([id])[0])), element("small", {}, percent(p))];
  return element("tr", {},
    element("td", {}, String(number + 1)),
    element("th", { scope: "row" }, ...token(step.token, step.p)),
    ...step.candidates.map(({ id, p }) => {
      const made = element("td", { className: id === step.token ? "pg-taken" : "" }, ...token(id, p));
      made.style.setProperty("--weight", p.toFixed(4));
      return made;
    }));
}
