// Greedy search, beam search and sampling, step for step as in scratch.translation.

export const longestOutput = (config, sourceLength) => Math.min(2 * sourceLength + 10, config.max_len);

// Wu et al. (2016), equation 14: what a log-probability of `length` tokens is divided by.
export const gnmtPenalty = (length, alpha) => ((5 + length) / 6) ** alpha;

// Log-probabilities of what follows row `row` of the logits: <pad> and <bos> never do, and after
// `last` tokens only <eos> can.
export function nextLogProbs(logits, row, config, last = false) {
  const size = config.vocab_size;
  const scores = logits.data.subarray(row * size, (row + 1) * size);
  let largest = -Infinity;
  for (const score of scores) if (score > largest) largest = score;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - largest);
  const shift = largest + Math.log(sum);
  const found = Float64Array.from(scores, (score) => score - shift);
  if (last) for (let id = 0; id < size; id++) if (id !== config.eos_id) found[id] = -Infinity;
  found[config.pad_id] = found[config.bos_id] = -Infinity;
  return found;
}

// The `n` most probable, best first; of equals the first.
export function best(values, n) {
  const chosen = [];
  for (let i = 0; i < values.length; i++) {
    if (chosen.length === n && values[i] <= values[chosen[n - 1]]) continue;
    let place = chosen.length;
    while (place > 0 && values[chosen[place - 1]] < values[i]) place--;
    chosen.splice(place, 0, i);
    if (chosen.length > n) chosen.pop();
  }
  return chosen;
}

// A small generator of numbers in [0, 1): the same seed, the same sentence (mulberry32).
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Draws from the distribution that dividing the logits by `temperature` makes of this one.
export function draw(logProbs, temperature, random) {
  const top = logProbs[best(logProbs, 1)[0]];
  const weights = logProbs.map((p) => Math.exp((p - top) / temperature));
  let left = random() * weights.reduce((sum, weight) => sum + weight, 0);
  const found = weights.findIndex((weight) => weight > 0 && (left -= weight) <= 0);
  return found < 0 ? weights.findLastIndex((weight) => weight > 0) : found; // rounding, at the very end
}

// One token at a time; `choose` picks it.  `watch` is shown each step and may stop the search.
async function oneByOne(model, memory, on, limit, choose, watch) {
  const { config } = model;
  const tokens = [config.bos_id];
  let cache = null;
  let logProb = 0;
  while (true) {
    const step = await model.write([[tokens.at(-1)]], memory, on, cache);
    cache = step.cache;
    const logProbs = nextLogProbs(step.logits, 0, config, tokens.length >= limit);
    const token = choose(logProbs);
    logProb += logProbs[token];
    tokens.push(token);
    await watch(tokens.slice(1), logProbs);
    if (token === config.eos_id) return { tokens: tokens.slice(1, -1), logProb, score: logProb };
  }
}

export const greedySearch = (model, memory, on, limit, watch) =>
  oneByOne(model, memory, on, limit, (logProbs) => best(logProbs, 1)[0], watch);

export function sample(model, memory, on, limit, { temperature, seed }, watch) {
  const random = generator(seed);
  return oneByOne(model, memory, on, limit, (logProbs) => draw(logProbs, temperature, random), watch);
}

// Keeps the `size` best outputs at each step; of those that have ended the best score wins.
export async function beamSearch(model, memory, on, limit, { size, alpha }, watch) {
  const { config } = model;
  const V = config.vocab_size;
  let beams = [{ tokens: [config.bos_id], logProb: 0, from: 0 }];
  const ended = [];
  let cache = null;
  while (ended.length < size && beams.length) {
    const step = await model.write(beams.map((b) => [b.tokens.at(-1)]), memory, on, cache, beams.map((b) => b.from));
    cache = step.cache;
    const totals = new Float64Array(beams.length * V);
    beams.forEach((beam, m) => {
      const logProbs = nextLogProbs(step.logits, m, config, beam.tokens.length >= limit);
      for (let id = 0; id < V; id++) totals[m * V + id] = beam.logProb + logProbs[id];
    });
    // at most `size` of the best 2 * size continuations end, so at least `size` of them go on
    const continuations = best(totals, 2 * size)
      .map((flat) => ({ parent: Math.floor(flat / V), token: flat % V, logProb: totals[flat] }))
      .filter(({ logProb }) => logProb > -Infinity);
    for (const { parent, token, logProb } of continuations.slice(0, size)) {
      if (token !== config.eos_id || ended.length >= size) continue;
      const tokens = beams[parent].tokens.slice(1);
      ended.push({ tokens, logProb, score: logProb / gnmtPenalty(tokens.length + 1, alpha) }); // <eos> counts
    }
    beams = continuations.filter(({ token }) => token !== config.eos_id).slice(0, size)
      .map(({ parent, token, logProb }) => ({ tokens: [...beams[parent].tokens, token], logProb, from: parent }));
    if (beams.length) await watch(beams[0].tokens.slice(1), null);
  }
  ended.sort((a, b) => b.score - a.score); // stable: of equals the one that ended first
  return { ...ended[0], ended };
}
