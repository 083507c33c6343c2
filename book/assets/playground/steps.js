// One row for each step: the five most probable tokens, and the one that was written.
import { element, headed, percent, scrolling, visible } from "./dom.js";
import { best } from "./search.js";

const SHOWN = 5;

// What a step needs to be drawn: candidates with their probabilities, and which was taken.
export function stepOf(logProbs, token) {
  const candidates = best(logProbs, SHOWN).map((id) => ({ id, p: Math.exp(logProbs[id]) }));
  return { token, p: Math.exp(logProbs[token]), candidates };
}

export function stepsTable(steps, pieces) {
  const titles = ["step", "writes", ...Array.from({ length: SHOWN }, (_, i) => (i ? `${i + 1}.` : "most probable"))];
  const table = element("table", { className: "pg-steps" }, headed(titles),
    element("tbody", {}, ...steps.map((step, i) => stepRow(step, i, pieces))));
  return scrolling(table, "The five most probable next tokens at each step. A dot stands for a space; the token that was written is framed.");
}

export function stepRow(step, number, pieces) {
  const [written] = pieces([step.token]);
  return element("tr", {},
    element("td", {}, String(number + 1)),
    element("th", { scope: "row" }, visible(written), element("small", {}, percent(step.p))),
    ...step.candidates.map((candidate) => {
      const made = element("td", { className: candidate.id === step.token ? "pg-taken" : "" },
        element("span", {}, visible(pieces([candidate.id])[0])), element("small", {}, percent(candidate.p)));
      made.style.setProperty("--weight", candidate.p.toFixed(4));
      return made;
    }));
}
