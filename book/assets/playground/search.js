// Greedy search, beam search and sampling, step for step as in scratch.translation.

export const longestOutput = (config, sourceLength) => Math.min(2 * sourceLength + 10, config.max_len);

// Wu et al. (2016), equation 14: what a log-probability of `length` tokens is divided by.
export const gnmtPenalty = (length, alpha) => ((5 + length) / 6) ** alpha;

// What is taken from each of `size` numbers to make log-probabilities of them: the logarithm of the sum of their powers.
function logSum(numbers, first, size) {
  let largest = -Infinity;
  for (let i = first; i < first + size; i++) if (numbers[i] > largest) largest = numbers[i];
  let sum = 0;
  for (let i = first; i < first + size; i++) sum += Math.exp(numbers[i] - largest);
  return largest + Math.log(sum);
}

// Log-probabilities of what follows row `row` of the logits: <pad> and <bos> never do, and after
// `last` tokens only <eos> can.
export function nextLogProbs({ data }, row, { vocab_size: size, pad_id, bos_id, eos_id }, last = false) {
  const first = row * size;
  const shift = logSum(data, first, size);
  const found = new Float64Array(size).fill(-Infinity);
  for (let id = 0; id < size; id++) if (!last || id === eos_id) found[id] = data[first + id] - shift;
  found[pad_id] = found[bos_id] = -Infinity;
  return found;
}

// The log-probability of one token after row `row`.
export const logProbOf = ({ data }, row, id, { vocab_size: size }) => data[row * size + id] - logSum(data, row * size, size);

// The distribution that dividing the logits by `temperature` makes of this one.
export function temper(logProbs, temperature) {
  const found = new Float64Array(logProbs.length);
  for (let id = 0; id < found.length; id++) found[id] = logProbs[id] / temperature;
  const shift = logSum(found, 0, found.length);
  for (let id = 0; id < found.length; id++) found[id] -= shift;
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

export function draw(logProbs, random) {
  let left = random();
  let found = 0;
  for (let id = 0; id < logProbs.length && left >= 0; id++) {
    const p = Math.exp(logProbs[id]);
    if (p > 0) found = id; // at the very end, where rounding leaves something, the last that is possible
    left -= p;
  }
  return found;
}

// One token at a time; `choose` picks it from what `see` makes of the model's log-probabilities.
// `watch` is shown each step and may stop the search.
async function oneByOne(model, memory, on, limit, watch, choose, see = (logProbs) => logProbs) {
  const { config } = model;
  const tokens = [config.bos_id];
  let cache = null;
  while (true) {
    const step = await model.write([[tokens.at(-1)]], memory, on, cache);
    cache = step.cache;
    const logProbs = see(nextLogProbs(step.logits, 0, config, tokens.length >= limit));
    tokens.push(choose(logProbs));
    await watch(tokens.slice(1), logProbs);
    if (tokens.at(-1) === config.eos_id) return { tokens: tokens.slice(1, -1) };
  }
}

export const greedySearch = (model, memory, on, limit, watch) =>
  oneByOne(model, memory, on, limit, watch, (logProbs) => best(logProbs, 1)[0]);

export async function sample(model, memory, on, limit, { temperature, seed }, watch) {
  const random = generator(seed);
  const found = await oneByOne(model, memory, on, limit, watch,
    (logProbs) => draw(logProbs, random), (logProbs) => temper(logProbs, temperature));
  return { ...found, temperature };
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
  return { ...ended[0], ended, alpha };
}
