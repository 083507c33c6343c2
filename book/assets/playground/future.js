// A French sentence read in one pass, with the causal mask and without it.
import { breathe, element, headed, percent, scrolling, visible } from "./dom.js";
import { side } from "./result.js";
import { logProbOf } from "./search.js";

export async function readBothWays({ model }, source, given, on) {
  const memory = await model.read(source, on);
  await breathe();
  const read = [[model.config.bos_id, ...given]];
  const masked = await model.write(read, memory, on);
  await breathe();
  const open = await model.write(read, memory, { ...on, causal: 0 });
  return { masked, open };
}

// How much of each position's weight lies on later ones, over all layers and heads.
export const onTheFuture = (maps) => maps.pick("mean", "mean")
  .map((row, r) => row.slice(r + 1).reduce((sum, weight) => sum + weight, 0));

export function futureTable({ model, tokenizer }, given, { masked, open }, maps, mask) {
  const { config } = model;
  const labels = tokenizer.pieces([config.bos_id, ...given, config.eos_id]).map(visible);
  const p = (pass, row, id) => Math.exp(logProbOf(pass.logits, row, id, config));
  const future = onTheFuture(maps);
  const rows = [...given, config.eos_id].map((id, row) => element("tr", {},
    element("th", { scope: "row", lang: "fr" }, labels[row]), element("td", { lang: "fr" }, labels[row + 1]),
    ...[p(masked, row, id), p(open, row, id), future[row]].map((x) => element("td", { className: "pg-number" }, percent(x)))));
  const titles = ["reads", "comes next", "its probability, masked", "unmasked", "weight on the future"];
  return scrolling(element("table", {}, headed(titles, 2), element("tbody", {}, ...rows)),
    `Decoder self-attention with the mask ${mask}: the last column says how much of it, over all layers and heads, lies on tokens that come later.`);
}

export function futureKind({ model, tokenizer }, given, maps) {
  const words = (name) => side(tokenizer, "fr", name, given, [model.config.bos_id, ...given], 1);
  return {
    decoder: {
      title: "French looks at French (decoder)", subject: "each French token, as it is read,", links: false,
      maps, rows: words("French words"), columns: words("French words, looked at"),
    },
  };
}
