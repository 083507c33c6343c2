// Small figures to play with: plain script, no request, no model.  A page that holds <div data-figure="…"> loads it.
// The numbers are computed by the pure functions at the top; tests/site/test_features.py holds them to scratch's own.
(() => {
  // -- arithmetic ----------------------------------------------------------------------------------------------------

  /** Softmax of a row; places where `allowed` is false get 0, and so does a row that allows nothing. */
  const softmax = (scores, allowed = scores.map(() => true)) => {
    const largest = Math.max(...scores.filter((_, s) => allowed[s]));
    const powers = scores.map((score, s) => (allowed[s] ? Math.exp(score - largest) : 0));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => (total ? power / total : 0));
  };

  /** `n` numbers as if drawn from a normal distribution, the same for the same seed (mulberry32, Box and Muller). */
  const normal = (n, seed) => {
    let state = seed;
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    return Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
  };

  /** One query and `n` keys of width `width`. */
  const draw = (width, n, seed) => ({
    query: normal(width, seed),
    keys: Array.from({ length: n }, (_, s) => normal(width, 7919 * (s + 1) + seed)),
  });

  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const spread = (values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  };

  const frequency = (pair, width) => 10000 ** ((-2 * pair) / width);
  const encode = (position, width) => Array.from({ length: width }, (_, column) => {
    const angle = position * frequency(Math.floor(column / 2), width);
    return column % 2 ? Math.cos(angle) : Math.sin(angle);
  });

  // -- elements ------------------------------------------------------------------------------------------------------

  const make = (tag, attributes = {}, ...children) => {
    const [name, space] = tag.split("@");
    const element = space ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes, ...children) => make(`${tag}@svg`, attributes, ...children);
  const fixed = (value, digits = 2) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "\u2212");

  const slider = (label, range, change) => {
    const output = make("span", { class: "play-value", "aria-hidden": "true" });
    const input = make("input", { type: "range", ...range, oninput: () => change() });
    return { input, output, row: make("label", { class: "play-slider" }, make("span", {}, label), input, output) };
  };
  const frame = (root, title, advice, ...content) => {
    const said = make("p", { class: "play-said", role: "status" });
    root.replaceChildren(
      make("p", { class: "play-title" }, title), make("p", { class: "play-advice" }, advice), ...content, said);
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", title);
    // read aloud once the hand rests, not at each step of a slider
    let rest;
    return (text) => { clearTimeout(rest); rest = setTimeout(() => { said.textContent = text; }, said.textContent ? 120 : 0); };
  };

  // -- chapter 1: a chain against one look ---------------------------------------------------------------------------

  /** What arrives of one word among `n`: along `n + 1` moves, a factor each, and by attention with a score of `score`. */
  const arrives = (n, factor, score) => ({ chain: factor ** (n + 1), attention: Math.exp(score) / (Math.exp(score) + n - 1) });

  const reach = (root) => {
    const n = slider("Words in each sentence", { min: 2, max: 100, step: 1, value: 7 }, () => update());
    const factor = slider("Factor of the chain", { min: 0.5, max: 1.5, step: 0.05, value: 0.5 }, () => update());
    const score = slider("Score of red", { min: 0, max: 12, step: 0.5, value: 4 }, () => update());
    const body = make("tbody");
    const say = frame(root, "How much of red arrives at rouge?",
      "Lengthen the sentences. Look for a factor that serves every length; then let the query grow, so that red scores higher.",
      make("div", { class: "play-controls" }, n.row, factor.row, score.row),
      make("table", { class: "play-bars play-reach" }, make("caption", {}, "Of red, which was 1 when it was read"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Way"), make("th", { scope: "col" }, "Arrives"))), body));
    const short = (value) => {
      if (value >= 0.001 && value < 1000) return fixed(value, value < 0.01 ? 4 : 2);
      const power = Math.floor(Math.log10(value));
      return `${fixed(value / 10 ** power, 1)} × 10${[...String(power)].map((c) => (c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c])).join("")}`;
    };
    const update = () => {
      const words = +n.input.value, found = arrives(words, +factor.input.value, +score.input.value);
      n.output.textContent = words;
      factor.output.textContent = fixed(+factor.input.value);
      score.output.textContent = fixed(+score.input.value, 1);
      body.replaceChildren(...Object.entries(found).map(([way, value]) => make("tr", {}, make("th", { scope: "row" }, way),
        make("td", {}, make("span", { class: `play-bar play-weight${value > 1.005 ? " play-burst" : ""}`, style: `--value:${Math.min(1, value)}` }), make("span", { class: "play-number" }, short(value))))));
      say(`Sentences of ${words} words put ${words + 1} moves between red and rouge. The chain ${found.chain > 1.005 ? "blows red up to" : "brings"} ${short(found.chain)}, attention ${short(found.attention)}.`);
    };
    update();
  };

  // -- chapter 5: softmax and the scale ------------------------------------------------------------------------------

  const scale = (root) => {
    const n = 6, widths = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
    let seed = 6;
    const width = slider("Width K", { min: 0, max: widths.length - 1, step: 1, value: 6 }, () => update());
    const divide = make("input", { type: "checkbox", role: "switch", onchange: () => update() });
    const body = make("tbody");
    const table = make("table", { class: "play-bars" },
      make("caption", {}, "Six keys: the score of each and the weight that it gets"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Key"), make("th", { scope: "col" }, "Score"), make("th", { scope: "col" }, "Weight"))),
      body);
    const say = frame(root, "What the width does to softmax",
      "One query and six keys, all of random numbers. Widen them, and watch one key take everything; then divide.",
      make("div", { class: "play-controls" }, width.row,
        make("label", { class: "play-switch" }, divide, make("span", {}, "divide by √K")),
        make("button", { type: "button", class: "play-button", onclick: () => { seed += 1; update(); } }, "Draw others")),
      table);
    const bar = (value, kind) => make("span", { class: `play-bar play-${kind}`, style: `--value:${value}` });
    const update = () => {
      const d = widths[width.input.value], { query, keys } = draw(d, n, seed);
      const scores = keys.map((key) => dot(query, key) / (divide.checked ? Math.sqrt(d) : 1));
      const weights = softmax(scores), largest = Math.max(...weights), reach = Math.max(4, ...scores.map(Math.abs));
      width.output.textContent = d;
      width.input.setAttribute("aria-valuetext", String(d));
      body.replaceChildren(...scores.map((score, s) => make("tr", {}, make("th", { scope: "row" }, String(s + 1)),
        make("td", {}, bar(score / reach, score < 0 ? "less" : "more"), make("span", { class: "play-number" }, fixed(score, 1))),
        make("td", {}, bar(weights[s], "weight"), make("span", { class: "play-number" }, fixed(weights[s]))))));
      say(`${divide.checked ? "Divided by √K" : "Undivided"}, scores of width ${d} spread by ${fixed(spread(scores), 1)} `
        + `around their mean. The largest weight is ${fixed(largest)}, and the slope of softmax there is ${fixed(largest * (1 - largest), 3)}.`);
    };
    update();
  };

  // -- chapter 5: a query between two keys ---------------------------------------------------------------------------

  const query = (root) => {
    const most = 6, keys = { the: [0, 0], red: [1, 0], bicycle: [0, 1] }; // in the directions adjective and noun
    const sides = ["adjective", "noun"].map((name, i) => slider(name, { min: 0, max: most, step: 0.1, value: [4, 2][i] }, () => update()));
    const tip = svg("circle", { class: "play-tip", r: 0.28 }), arrow = svg("line", { class: "play-hand", x1: 0, y1: 0 });
    const label = (text, x, y, anchor) => svg("text", { x, y, "text-anchor": anchor }, text);
    const plane = svg("svg", { class: "play-plane", viewBox: `-0.9 ${-most - 0.5} ${most + 1.6} ${most + 1.5}`, "aria-hidden": "true" },
      svg("path", { class: "play-axis", d: `M0 ${-most}V0H${most}` }), label("adjective →", most, 0.62, "end"), label("noun ↑", 0.2, -most, "start"),
      svg("line", { class: "play-key", x1: 0, y1: 0, x2: 1, y2: 0 }), svg("line", { class: "play-key", x1: 0, y1: 0, x2: 0, y2: -1 }),
      label("red", 1, 0.62, "middle"), label("bicycle", 0.15, -1.1, "start"), arrow, tip);
    let held = false;
    const drag = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plane.getScreenCTM().inverse());
      [at.x, -at.y].forEach((value, i) => { sides[i].input.value = value; }); // the slider keeps it between 0 and its largest
      update();
    };
    plane.addEventListener("pointerdown", (event) => { held = true; plane.setPointerCapture(event.pointerId); drag(event); });
    plane.addEventListener("pointermove", (event) => { if (held) drag(event); });
    for (const end of ["pointerup", "pointercancel"]) plane.addEventListener(end, () => { held = false; });
    const body = make("tbody");
    const table = make("table", { class: "play-bars play-words" },
      make("caption", {}, "How well each key answers, and the weight that its word gets"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Word"), make("th", { scope: "col" }, "Score"), make("th", { scope: "col" }, "Weight"))),
      body);
    const say = frame(root, "Turn the question",
      "Drag the tip of the query, or move the sliders. Point it at the noun; make it long, then short.",
      make("div", { class: "play-row" }, plane, make("div", { class: "play-plot" }, make("div", { class: "play-controls" }, ...sides.map((side) => side.row)), table)));
    const bar = (value) => make("span", { class: "play-bar play-weight", style: `--value:${value}` });
    const update = () => {
      const asked = sides.map((side) => +side.input.value);
      const scores = Object.values(keys).map((key) => dot(asked, key) / 2), weights = softmax(scores);
      sides.forEach((side, i) => { side.output.textContent = fixed(asked[i], 1); });
      for (const [name, value] of [["x2", asked[0]], ["y2", -asked[1]]]) arrow.setAttribute(name, value);
      for (const [name, value] of [["cx", asked[0]], ["cy", -asked[1]]]) tip.setAttribute(name, value);
      body.replaceChildren(...Object.keys(keys).map((word, s) => make("tr", {}, make("th", { scope: "row" }, word),
        ...[scores[s], weights[s]].map((value, i) => make("td", {}, bar(i ? value : value / (most / 2)), make("span", { class: "play-number" }, fixed(value)))))));
      say(`The average is ${fixed(10 * weights[1], 1)} red and ${fixed(10 * weights[2], 1)} bicycle.`
        + (Math.hypot(...asked) < 0.05 ? " A query of zeros asks for nothing: all words weigh the same." : ""));
    };
    update();
  };

  // -- chapter 4: one hand of the positional encoding ----------------------------------------------------------------

  const clock = (root) => {
    const width = 64, length = 60, pairs = width / 2;
    const pair = slider("Hand i", { min: 0, max: pairs - 1, step: 1, value: 4 }, () => update());
    const position = slider("Position p", { min: 0, max: length - 1, step: 1, value: 11 }, () => update());
    const sine = svg("path", { class: "play-sine" }), cosine = svg("path", { class: "play-cosine" });
    const here = svg("line", { class: "play-here", y1: -1.15, y2: 1.15 });
    const plot = svg("svg", { class: "play-curve", viewBox: `0 -1.2 ${length - 1} 2.4`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("line", { class: "play-zero", x1: 0, x2: length - 1, y1: 0, y2: 0 }), here, cosine, sine);
    const hand = svg("line", { class: "play-hand", x1: 0, y1: 0 });
    const sineLeg = svg("line", { class: "play-sine" }), cosineLeg = svg("line", { class: "play-cosine", x1: 0, y1: 0, x2: 0 });
    const face = svg("svg", { class: "play-clock", viewBox: "-1.2 -1.2 2.4 2.4", "aria-hidden": "true" },
      svg("circle", { r: 1 }), sineLeg, cosineLeg, hand, svg("circle", { class: "play-pin", r: 0.05 }));
    const cells = make("div", { class: "play-strip", "aria-hidden": "true" });
    const say = frame(root, "One hand of the clock",
      "Choose a hand and a place in the sentence. The hand’s sine and cosine are two of the 64 numbers that mark the place.",
      make("div", { class: "play-controls" }, pair.row, position.row),
      make("div", { class: "play-row" }, face, make("div", { class: "play-plot" }, plot,
        make("p", { class: "play-legend", "aria-hidden": "true" }, make("span", { class: "play-sine" }, "sine"), make("span", { class: "play-cosine" }, "cosine"), "over 60 positions"))),
      make("p", { class: "play-label" }, "The row of the table for this position, the chosen pair marked"), cells);
    const curve = (wave) => Array.from({ length: 473 }, (_, x) => `${x ? "L" : "M"}${x / 8} ${-wave((x / 8) * frequency(+pair.input.value, width))}`).join("");
    const set = (element, attributes) => Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    const update = () => {
      const i = +pair.input.value, p = +position.input.value, row = encode(p, width), turn = (2 * Math.PI) / frequency(i, width);
      const [s, c] = [row[2 * i], row[2 * i + 1]];
      pair.output.textContent = i;
      position.output.textContent = p;
      sine.setAttribute("d", curve(Math.sin));
      cosine.setAttribute("d", curve(Math.cos));
      set(here, { x1: p, x2: p });
      set(hand, { x2: s, y2: -c }); // from twelve o'clock, clockwise
      set(cosineLeg, { y2: -c });
      set(sineLeg, { x1: 0, y1: -c, x2: s, y2: -c });
      cells.replaceChildren(...row.map((value, column) => make("span", {
        class: `play-cell play-${value < 0 ? "less" : "more"}${column >> 1 === i ? " play-chosen" : ""}`, style: `--value:${Math.abs(value).toFixed(3)}` })));
      say(`Hand ${i} turns once in ${turn < 1000 ? fixed(turn, 1) : Math.round(turn).toLocaleString("en-GB")} positions. At position ${p} its sine is ${fixed(s, 3)} and its cosine ${fixed(c, 3)}: columns ${2 * i}\u00a0and\u00a0${2 * i + 1}.`);
    };
    update();
  };

  // -- chapter 6: one hidden unit ------------------------------------------------------------------------------------

  const pairs = { "cold soup": [0, 0, 0, 1], "hot soup": [1, 0, 0, 1], "cold dog": [0, 1, 1, 0], "hot dog": [1, 1, 1, 0] };

  /** What the unit for hot dog makes of a vector: how well it matches, and the vector with its value added. */
  const fire = (vector, bias, bent) => {
    const sum = dot(vector, [1, 1, 0, 0]) + bias, match = bent ? Math.max(0, sum) : sum;
    return { match, after: vector.map((number, d) => number + match * [0, 0, -1, 1][d]) };
  };

  const unit = (root) => {
    const bias = slider("Bias", { min: -2, max: 0, step: 0.5, value: -1 }, () => update());
    const bend = make("input", { type: "checkbox", role: "switch", checked: "", onchange: () => update() });
    const body = make("tbody");
    const say = frame(root, "One unit, four pairs",
      "Only hot dog should change, from food 0 to food 1. Try every bias, with the bend and without.",
      make("div", { class: "play-controls" }, bias.row, make("label", { class: "play-switch" }, bend, make("span", {}, "bend"))),
      make("table", { class: "play-bars play-unit" }, make("caption", {}, "How well each pair matches, and how much food it is afterwards"),
        make("thead", {}, make("tr", {}, ...["Pair", "Match", "Food"].map((name) => make("th", { scope: "col" }, name)))), body));
    const bar = (value) => make("span", { class: `play-bar play-${value < 0 ? "less" : "more"}`, style: `--value:${value / 3}` });
    const update = () => {
      bias.output.textContent = fixed(+bias.input.value, 1);
      const found = Object.entries(pairs).map(([pair, vector]) => [pair, fire(vector, +bias.input.value, bend.checked)]);
      body.replaceChildren(...found.map(([pair, { match, after }]) => make("tr", {}, make("th", { scope: "row" }, pair),
        ...[match, after[3]].map((value) => make("td", {}, bar(value), make("span", { class: "play-number" }, fixed(value, 1)))))));
      const changed = found.filter(([, { match }]) => match).map(([pair]) => pair);
      say(changed.length === 1 && found[3][1].match === 1 ? "Only hot dog changes, and it is food. That is what we wanted."
        : changed.length ? `The unit changes ${changed.join(", ")}.` : "The unit changes nothing.");
    };
    update();
  };

  // -- chapter 7: layer normalisation --------------------------------------------------------------------------------

  /** Mean 0 and variance 1, the variance divided by the number of values; ε as in the module. */
  const normalise = (values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => (value - mean) / Math.sqrt(spread(values) ** 2 + 1e-5));
  };

  const norm = (root) => {
    const most = 20, start = [9, 3, 3, 1];
    const sides = start.map((value, i) => slider(`number ${i + 1}`, { min: -most, max: most, step: 0.5, value }, () => update()));
    const now = () => sides.map((side) => +side.input.value);
    const buttons = Object.entries({
      "Double all": (value) => 2 * value, "Add 2 to all": (value) => value + 2, "Make all equal": () => now()[0], "Start again": (_, i) => start[i],
    }).map(([text, change]) => ({ change, button: make("button", { type: "button", class: "play-button", onclick: () => {
      now().map(change).forEach((value, i) => { sides[i].input.value = value; });
      update();
    } }, text) }));
    const body = make("tbody");
    const table = make("table", { class: "play-bars" },
      make("caption", {}, "The four numbers of one position, and what layer normalisation makes of them"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "No."), make("th", { scope: "col" }, "x"), make("th", { scope: "col" }, "Normalised"))),
      body);
    const say = frame(root, "What comes through",
      "Move one number: all four results move. Then double all of them, or add 2: nothing moves.",
      make("div", { class: "play-controls" }, ...sides.map((side) => side.row)),
      make("div", { class: "play-controls" }, ...buttons.map(({ button }) => button)),
      table);
    const bar = (value) => make("span", { class: `play-bar play-${value < 0 ? "less" : "more"}`, style: `--value:${value}` });
    const update = () => {
      const x = now(), result = normalise(x);
      for (const { button, change } of buttons) button.disabled = x.map(change).some((value) => Math.abs(value) > most);
      sides.forEach((side, i) => { side.output.textContent = fixed(x[i], 1); });
      body.replaceChildren(...x.map((value, i) => make("tr", {}, make("th", { scope: "row" }, String(i + 1)),
        ...[[value, most], [result[i], 2]].map(([shown, reach]) => make("td", {}, bar(shown / reach), make("span", { class: "play-number" }, fixed(shown)))))));
      const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
      say(`The mean of x is ${fixed(mean)} and its standard deviation ${fixed(spread(x))}.`
        + (spread(x) ? "" : " All numbers are equal, so only zeros are left: what they were has gone."));
    };
    update();
  };

  // -- chapter 4: a query and a key that turn with their places --------------------------------------------------------

  const rotated = { speed: 0.4, query: Math.PI / 6, key: Math.PI / 1.8 }; // radians; both hands have length 1
  const rotaryScore = (p, s) => Math.cos(rotated.query - rotated.key + rotated.speed * (p - s));

  const rotary = (root) => {
    const most = 20;
    const place = (label, value) => slider(label, { min: 0, max: most, step: 1, value }, () => update());
    const [p, s] = [place("Query at p", 3), place("Key at s", 1)];
    const hands = ["asks", "answers"].map((kind) => [svg("line", { class: `play-hand play-${kind}`, x1: 0, y1: 0 }), svg("circle", { class: `play-${kind}`, r: 0.08 })]);
    const face = svg("svg", { class: "play-clock play-turning", viewBox: "-1.2 -1.2 2.4 2.4", "aria-hidden": "true" }, svg("circle", { r: 1 }), ...hands.flat());
    const both = make("button", { type: "button", class: "play-button", onclick: () => {
      const step = Math.max(+p.input.value, +s.input.value) < most ? 1 : -Math.min(+p.input.value, +s.input.value);
      for (const { input } of [p, s]) input.value = +input.value + step;
      update();
    } }, "Move both one place on");
    const say = frame(root, "Turn a query and a key",
      "Move both one place on, as often as you like, and watch the score. Then move one of them alone.",
      make("div", { class: "play-row" }, face, make("div", { class: "play-plot" },
        make("div", { class: "play-controls" }, p.row, s.row, both),
        make("p", { class: "play-legend", "aria-hidden": "true" }, make("span", { class: "play-cosine" }, "query"), make("span", { class: "play-sine" }, "key")))));
    const update = () => {
      const places = [+p.input.value, +s.input.value];
      [p, s].forEach((side, i) => { side.output.textContent = places[i]; });
      hands.forEach(([line, tip], i) => {
        const angle = [rotated.query, rotated.key][i] + rotated.speed * places[i];
        const [x, y] = [Math.sin(angle), -Math.cos(angle)]; // from twelve o'clock, clockwise
        for (const [element, name] of [[line, "x2"], [tip, "cx"]]) element.setAttribute(name, x);
        for (const [element, name] of [[line, "y2"], [tip, "cy"]]) element.setAttribute(name, y);
      });
      const distance = fixed(places[0] - places[1], 0);
      say(`Places ${places[0]} and ${places[1]}, distance ${distance}: the score is ${fixed(rotaryScore(...places))}, as for any two places at the distance ${distance}.`);
    };
    update();
  };

  // -- chapter 2: merges, one after the other ------------------------------------------------------------------------

  const merges = (root) => {
    const text = { cat: 5, rat: 3, at: 2, cats: 1, car: 1, red: 1 }, most = 6, learned = [];
    const cut = (word, n) => learned.slice(0, n).reduce((tokens, [a, b]) => {
      const joined = [];
      for (let i = 0; i < tokens.length; i += 1) {
        if (tokens[i] === a && tokens[i + 1] === b) joined.push(a + tokens[(i += 1)]);
        else joined.push(tokens[i]);
      }
      return joined;
    }, [...`\u2423${word}`]);
    const count = (n) => {
      const counts = new Map();
      for (const [word, times] of Object.entries(text)) {
        const tokens = cut(word, n);
        tokens.slice(1).forEach((b, i) => { const pair = `${tokens[i]} ${b}`; counts.set(pair, (counts.get(pair) ?? 0) + times); });
      }
      return [...counts].sort((one, other) => other[1] - one[1]);
    };
    while (learned.length < most) learned.push(count(learned.length)[0][0].split(" "));
    const known = new Set("\u2423" + Object.keys(text).join(""));
    const steps = slider("Merges", { min: 0, max: most, step: 1, value: 0 }, () => update());
    const own = make("input", { type: "text", class: "play-text", maxlength: 10, size: 10, value: "rats", autocapitalize: "off", autocomplete: "off", spellcheck: "false", oninput: () => update() });
    const body = make("tbody");
    const table = make("table", { class: "play-tokens" },
      make("caption", {}, "The words of the text, and yours, in tokens"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Word"), make("th", { scope: "col" }, "Times"), make("th", { scope: "col" }, "Tokens"))),
      body);
    const say = frame(root, "Merge by merge",
      "Move the slider and watch the most frequent pair become one token. Then type a word that the text does not have.",
      make("div", { class: "play-controls" }, steps.row, make("label", { class: "play-own" }, make("span", {}, "Your word"), own)), table);
    const tile = (token, newest) => make("span", { class: `play-token${token === newest ? " play-new" : ""}${[...token].every((letter) => known.has(letter)) ? "" : " play-unknown"}` }, token);
    const update = () => {
      const n = +steps.input.value, newest = n ? learned[n - 1].join("") : "", mine = own.value.trim().toLowerCase();
      const row = (word, times) => make("tr", {}, make("th", { scope: "row" }, word), make("td", {}, String(times)),
        make("td", {}, ...cut(word, n).flatMap((token) => [tile(token, newest), " "])));
      steps.output.textContent = n;
      body.replaceChildren(...Object.entries(text).map(([word, times]) => row(word, times)), ...(mine ? [row(mine, 0)] : []));
      const [pair, times] = count(n)[0];
      const strange = [...new Set(mine)].filter((letter) => !known.has(letter));
      say((n ? `Merge ${n} made ${newest}. ` : "")
        + (times > 1 ? `Most frequent now: ${pair.replace(" ", " and ")}, side by side ${times} times.` : "No pair is left that stands side by side twice.")
        + (strange.length ? ` The text has no ${strange.join(", ")}: the dashed tokens have no id.` : ""));
    };
    update();
  };

  // -- chapter 3: a row of the table, and the words that are like it -------------------------------------------------

  const likeness = (root) => {
    const rows = { bicycle: [3, 0, 0, 0], cat: [3, 2, 0, 0], red: [0, 0, 3, 0], sees: [0, 1, 0, 3], small: [0, 1, 3, 0], the: [1, 0, 1, 0] };
    const sides = ["noun", "alive", "quality", "action"].map((name, i) => slider(name, { min: 0, max: 6, step: 0.125, value: [3, 3, 0, 0][i] }, () => update()));
    const now = () => sides.map((side) => +side.input.value);
    const set = (values) => { values.forEach((value, i) => { sides[i].input.value = value; }); update(); };
    const button = (text, values) => make("button", { type: "button", class: "play-button", onclick: () => set(values()) }, text);
    const body = make("tbody");
    const say = frame(root, "Which words is a dog like?",
      "Move the numbers of dog. Make it less alive, or give it a quality; then halve all four: it still points the same way.",
      make("div", { class: "play-controls" }, ...sides.map((side) => side.row)),
      make("div", { class: "play-controls" }, button("Halve all", () => now().map((value) => value / 2)), button("Start again", () => [3, 3, 0, 0])),
      make("table", { class: "play-bars play-words" }, make("caption", {}, "Cosine similarity with dog"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Word"), make("th", { scope: "col" }, "Cosine"))), body));
    const update = () => {
      const dog = now(), size = Math.hypot(...dog);
      const found = Object.entries(rows).map(([word, row]) => [word, size ? dot(dog, row) / (size * Math.hypot(...row)) : 0]);
      sides.forEach((side, i) => { side.output.textContent = fixed(dog[i]); });
      body.replaceChildren(...found.map(([word, value]) => make("tr", {}, make("th", { scope: "row" }, word),
        make("td", {}, make("span", { class: "play-bar play-weight", style: `--value:${value}` }), make("span", { class: "play-number" }, fixed(value))))));
      const [word, most] = found.reduce((best, one) => (one[1] > best[1] ? one : best));
      say(size ? `Dog is most like ${word}: cosine ${fixed(most)}. The length of its row is ${fixed(size, 1)}.` : "A row of zeros points nowhere and is like no word.");
    };
    update();
  };

  // -- chapter 8: the pencil's layer, part by part --------------------------------------------------------------------

  const columns = ["her", "they", "watch", "clock", "look"];
  /** What *watch* holds once words have met, and when it leaves the layer. */
  const pencil = (neighbour, { attention, residual, feedForward }) => {
    const [weight] = softmax([neighbour === "old" ? 0 : 2, 0]);
    const met = columns.map((name) => (residual && name === "watch" ? 1 : 0) + (attention && name === neighbour ? weight : 0));
    const conclude = (fact) => (feedForward ? Math.max(0, met[fact] + 2 * met[2] - 2) : 0);
    return { met, out: [...met.slice(0, 3), conclude(0), conclude(1)] };
  };

  const layer = (root) => {
    const names = { attention: "attention", residual: "keep what it had", feedForward: "feed-forward" };
    const parts = Object.fromEntries(Object.keys(names).map((part) => [part, make("input", { type: "checkbox", role: "switch", checked: "", onchange: () => update() })]));
    let neighbour = "her";
    const words = ["her", "they", "old"].map((word) => make("button", { type: "button", class: "play-button", onclick: () => { neighbour = word; update(); } }, `${word} watch`));
    const body = make("tbody");
    const say = frame(root, "A layer with parts missing",
      "Choose the neighbour, then switch off one part at a time. Which facts does watch hold, and what does it conclude?",
      make("div", { class: "play-controls" }, ...words),
      make("div", { class: "play-controls" }, ...Object.entries(parts).map(([part, input]) => make("label", { class: "play-switch" }, input, make("span", {}, names[part])))),
      make("table", { class: "play-bars play-words" }, make("caption", {}, "The five numbers of watch"),
        make("thead", {}, make("tr", {}, ...["Number", "Words have met", "Out"].map((text) => make("th", { scope: "col" }, text)))), body));
    const update = () => {
      const on = Object.fromEntries(Object.entries(parts).map(([part, input]) => [part, input.checked]));
      const { met, out } = pencil(neighbour, on);
      words.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === `${neighbour} watch`)));
      body.replaceChildren(...columns.map((name, i) => make("tr", {}, make("th", { scope: "row" }, name), ...[met, out].map((row) => make("td", {},
        make("span", { class: "play-bar play-weight", style: `--value:${row[i]}` }), make("span", { class: "play-number" }, fixed(row[i])))))));
      const why = !on.residual ? "It has forgotten that it is watch." : !on.attention ? "It has met nobody."
        : neighbour === "old" ? "Old says nothing about it." : "It holds both facts, and nobody draws the conclusion.";
      say(out[3] ? `Watch concludes: a clock, ${fixed(out[3])}.` : out[4] ? `Watch concludes: to look, ${fixed(out[4])}.` : `No conclusion. ${why}`);
    };
    update();
  };

  // -- chapter 9: a mask painted by hand -----------------------------------------------------------------------------

  const words = ["le", "vélo", "rouge", "dort", ".", "<pad>"];
  // made up, so that words of one phrase find each other
  const scores = [
    [0.9, 1.6, 0.4, -0.5, -1.0, -0.2], [0.8, 0.7, 1.9, 0.6, -0.9, 0.1], [-0.1, 2.1, 0.6, 0.2, -0.7, -0.3],
    [-0.4, 1.8, 0.3, 0.5, 0.2, 0.0], [-0.8, 0.1, 0.0, 1.4, 0.6, 0.3], [0.2, 0.1, -0.2, 0.0, 0.4, 0.5],
  ];
  const masks = {
    "allow all": () => true,
    causal: (t, s) => s <= t,
    "off by one": (t, s) => s <= t + 1,
    padding: (t, s) => s < 5,
    both: (t, s) => s <= t && s < 5,
    "hide all": () => false,
  };

  const paint = (root) => {
    const n = words.length;
    let allowed = words.map((_, t) => words.map((_, s) => masks.causal(t, s)));
    let painting = null, at = [0, 0];
    const cells = words.map((_, t) => words.map((_, s) => make("button", {
      type: "button", class: "play-square", tabindex: t + s ? -1 : 0,
      onpointerdown: (event) => { event.preventDefault(); event.target.releasePointerCapture?.(event.pointerId); focus(t, s); painting = !allowed[t][s]; put(t, s, painting); },
      onpointerenter: () => { if (painting !== null) put(t, s, painting); },
      onclick: (event) => { if (!event.detail) put(t, s, !allowed[t][s]); }, // the keyboard's; the pointer's has been painted
      onkeydown: (event) => {
        const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -n], End: [0, n] }[event.key];
        if (!step) return;
        event.preventDefault();
        focus(Math.min(n - 1, Math.max(0, t + step[0])), Math.min(n - 1, Math.max(0, s + step[1])));
      },
    })));
    addEventListener("pointerup", () => { painting = null; });
    addEventListener("pointercancel", () => { painting = null; });
    const table = make("table", { class: "play-mask" },
      make("caption", {}, "Rows ask, columns answer; a number is a weight"),
      make("thead", {}, make("tr", {}, make("td"), ...words.map((word) => make("th", { scope: "col" }, word)))),
      make("tbody", {}, ...words.map((word, t) => make("tr", {}, make("th", { scope: "row" }, word), ...cells[t].map((cell) => make("td", {}, cell))))));
    const say = frame(root, "Paint a mask",
      "Click or drag over squares, or move with the arrow keys and press space. A hatched square may not be looked at.",
      make("div", { class: "play-controls" }, ...Object.keys(masks).map((name) => make("button", {
        type: "button", class: "play-button", onclick: () => { allowed = words.map((_, t) => words.map((_, s) => masks[name](t, s))); update(); } }, name[0].toUpperCase() + name.slice(1)))),
      table);
    const focus = (t, s) => {
      cells[at[0]][at[1]].tabIndex = -1;
      at = [t, s];
      cells[t][s].tabIndex = 0;
      cells[t][s].focus({ preventScroll: false });
    };
    const put = (t, s, value) => { if (allowed[t][s] !== value) { allowed[t][s] = value; update(); } };
    const update = () => {
      for (const [t, row] of cells.entries()) {
        const weights = softmax(scores[t], allowed[t]);
        for (const [s, cell] of row.entries()) {
          cell.textContent = allowed[t][s] ? fixed(weights[s]) : "";
          cell.style.setProperty("--value", weights[s].toFixed(4));
          cell.setAttribute("aria-pressed", String(allowed[t][s]));
          cell.setAttribute("aria-label", `${words[t]} looks at ${words[s]}: ${allowed[t][s] ? `weight ${fixed(weights[s])}` : "hidden"}`);
        }
      }
      say(judge(allowed));
    };
    update();
  };

  const judge = (allowed) => {
    const blind = words.filter((_, t) => !allowed[t].some(Boolean));
    const leaks = allowed.flatMap((row, t) => row.flatMap((open, s) => (open && s > t ? [[t, s]] : [])));
    const padding = words.filter((_, t) => t !== 5 && allowed[t][5]).length; // the padding's own row is no word's
    return [
      leaks.length ? `The future leaks in ${leaks.length} ${leaks.length > 1 ? "squares" : "square"}: ${words[leaks[0][0]]} may look at ${words[leaks[0][1]]}, which comes later.`
        : "No word may look at a later one.",
      padding ? `${padding} ${padding > 1 ? "words look" : "word looks"} at the padding.` : allowed[5][5] ? "Only the padding looks at the padding." : "Nobody looks at the padding.",
      blind.length ? `${blind.join(", ")} may look nowhere: ${blind.length > 1 ? "their weights are" : "its weights are"} all 0, and so is the output.` : "",
    ].join(" ").trim();
  };

  // -- chapter 9: a sentence written step by step ---------------------------------------------------------------------

  /** Plays a recorded translation forwards and backwards: what each step reads, where it looks, what the cache holds. */
  const writing = (root) => {
    const { source, target, chances, weights } = JSON.parse(root.dataset.trace);
    const step = slider("Step", { min: 1, max: weights.length, step: 1, value: 1 }, () => update());
    const button = (text, by) => make("button", { type: "button", class: "play-button", onclick: () => { step.input.value = +step.input.value + by; update(); } }, text);
    const [back, on] = [button("Back", -1), button("Write on", 1)];
    const line = make("p", { class: "play-line" }), body = make("tbody"), kept = make("tbody");
    const columns = Math.max(source.length, weights.length);
    const say = frame(root, "Write it yourself",
      "Write on, word by word, or go back. Blue is what the step reads, orange what it adds; dashed does not exist yet.",
      make("div", { class: "play-controls" }, back, on, step.row), line,
      make("div", { class: "play-row" },
        make("div", { class: "play-plot" }, make("table", { class: "play-bars play-words" }, make("caption", {}, "Where this step looks"),
          make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "English"), make("th", { scope: "col" }, "Weight"))), body)),
        make("table", { class: "play-cache" }, make("caption", {}, "The cache of a layer: a square is a vector"), kept)));
    const update = () => {
      const t = +step.input.value - 1, looked = weights[t], most = looked.indexOf(Math.max(...looked));
      step.output.textContent = t + 1;
      [back.disabled, on.disabled] = [t === 0, t === weights.length - 1];
      line.replaceChildren(...target.flatMap((word, n) => [make("span", { class: `play-token${n === t + 1 ? " play-new" : n > t ? " play-unknown" : n === t ? " play-asks" : ""}` }, n > t + 1 ? "\u00a0" : word), " "]));
      body.replaceChildren(...source.map((word, s) => make("tr", {}, make("th", { scope: "row" }, word),
        make("td", {}, make("span", { class: "play-bar play-weight", style: `--value:${looked[s]}` }), make("span", { class: "play-number" }, fixed(looked[s]))))));
      kept.replaceChildren(...["French keys", "French values", "English keys", "English values"].map((name, row) => make("tr", {}, make("th", { scope: "row" }, name),
        make("td", {}, ...Array.from({ length: columns }, (_, n) => {
          const last = row < 2 ? t : source.length - 1;
          return make("span", { class: `play-kept${n > last ? "" : row < 2 && n === t ? " play-new" : " play-old"}` });
        })))));
      say(`Step ${t + 1} reads ${target[t]}, may see ${t ? `the ${t + 1} words up to it` : "nothing else"}, looks most at ${source[most]} (${fixed(looked[most])}) and writes ${target[t + 1]}, with a probability of ${fixed(chances[t])}. `
        + `In the cache: ${t + 1} French ${t ? "columns" : "column"}, ${source.length} English.`);
    };
    update();
  };

  // -- chapter 10: where the parameters are --------------------------------------------------------------------------

  /** Parameters by kind: `V` tokens, width `D`, feed-forward width `F`, `N` layers in each stack, post-norm. */
  const parameters = ({ V, D, F, N, tied }) => ({
    table: (tied ? 1 : 3) * V * D, attention: 3 * N * 4 * (D * D + D), "feed-forward": 2 * N * (2 * D * F + F + D), normalisation: 5 * N * 2 * D,
  });

  const sizes = (root) => {
    const steps = { V: [1000, 2000, 4000, 8000, 16000, 32000, 37000, 41000, 64000, 128000], D: [64, 128, 256, 512, 1024, 2048], ratio: [1, 2, 3, 4, 6, 8] };
    const choice = (label, values, at) => {
      const made = slider(label, { min: 0, max: values.length - 1, step: 1, value: at }, () => update());
      made.now = () => values[made.input.value];
      return made;
    };
    const V = choice("Vocabulary", steps.V, 3), D = choice("Width D", steps.D, 1), ratio = choice("F divided by D", steps.ratio, 1);
    const N = choice("Layers in each stack", Array.from({ length: 12 }, (_, n) => n + 1), 3);
    const tied = make("input", { type: "checkbox", role: "switch", checked: "", onchange: () => update() });
    const models = { tiny: [3, 1, 1, 3], base: [6, 3, 3, 5], big: [6, 4, 3, 5] };
    const buttons = Object.entries(models).map(([name, at]) => make("button", { type: "button", class: "play-button", onclick: () => {
      [V, D, ratio, N].forEach((one, i) => { one.input.value = at[i]; });
      tied.checked = true;
      update();
    } }, name));
    const body = make("tbody");
    const say = frame(root, "Where the parameters are",
      "Start from tiny. Make it wider, then deeper: which part grows fastest? Then untie the table.",
      make("div", { class: "play-controls" }, ...buttons, make("label", { class: "play-switch" }, tied, make("span", {}, "one table for all three uses"))),
      make("div", { class: "play-controls" }, V.row, D.row, ratio.row, N.row),
      make("table", { class: "play-bars play-sizes" }, make("caption", {}, "Share of the parameters, and millions of them"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Part"), make("th", { scope: "col" }, "Share"))), body));
    const update = () => {
      for (const one of [V, D, ratio, N]) {
        one.output.textContent = one.now().toLocaleString("en");
        one.input.setAttribute("aria-valuetext", one.output.textContent);
      }
      const found = parameters({ V: V.now(), D: D.now(), F: ratio.now() * D.now(), N: N.now(), tied: tied.checked });
      const total = Object.values(found).reduce((sum, count) => sum + count, 0);
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(tied.checked && [V, D, ratio, N].every((one, i) => +one.input.value === models[button.textContent][i]))));
      body.replaceChildren(...Object.entries(found).map(([name, count]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {},
        make("span", { class: "play-bar play-weight", style: `--value:${count / total}` }), make("span", { class: "play-number" }, fixed(count / 1e6))))));
      const [most, count] = Object.entries(found).reduce((best, one) => (one[1] > best[1] ? one : best));
      say(`${fixed(total / 1e6, 1)} million parameters. Most are in ${most === "table" ? "the table" : most === "feed-forward" ? "the feed-forward networks" : most}: ${fixed((100 * count) / total, 0)} per cent.`);
    };
    update();
  };

  // -- chapter 12: what a loss asks for ------------------------------------------------------------------------------

  /** Probabilities, targets with a smoothing of `eps`, the loss and the lowest one, if the first of the tokens is right. */
  const smoothed = (scores, eps) => {
    const p = softmax(scores), q = scores.map((_, i) => (i ? 0 : 1 - eps) + eps / scores.length);
    const cross = (r) => q.reduce((sum, value, i) => sum - (value ? value * Math.log(r[i]) : 0), 0);
    return { p, q, loss: cross(p), lowest: cross(q) };
  };

  const target = (root) => {
    const score = slider("Score of vélo", { min: 0, max: 8, step: 0.05, value: 2 }, () => update());
    const eps = slider("Smoothing", { min: 0, max: 0.4, step: 0.05, value: 0 }, () => update());
    const body = make("tbody");
    const say = frame(root, "When is the push over?",
      "Follow the push: raise the score of vélo until nothing pushes it any more. Then smooth, and try again.",
      make("div", { class: "play-controls" }, score.row, eps.row),
      make("table", { class: "play-bars play-target" }, make("caption", {}, "Three tokens, of which vélo is right"),
        make("thead", {}, make("tr", {}, ...["Token", "Probability", "Target", "Push"].map((name) => make("th", { scope: "col" }, name)))), body));
    const bar = (kind, value) => make("td", {}, make("span", { class: `play-bar play-${kind}`, style: `--value:${value}` }), make("span", { class: "play-number" }, fixed(value)));
    const update = () => {
      const { p, q, loss, lowest } = smoothed([+score.input.value, 1, 0], +eps.input.value), push = q.map((value, i) => value - p[i]);
      score.output.textContent = fixed(+score.input.value);
      eps.output.textContent = fixed(+eps.input.value);
      body.replaceChildren(...["vélo", "chat", "rouge"].map((token, i) => make("tr", {}, make("th", { scope: "row" }, token),
        bar("weight", p[i]), bar("weight", q[i]), bar(push[i] < 0 ? "less" : "more", push[i]))));
      say(`The loss is ${fixed(loss)}, the lowest possible ${fixed(lowest)}. ${Math.abs(push[0]) < 0.0005 ? "Nothing pushes vélo any more."
        : `Vélo is pushed ${push[0] > 0 ? "up" : "down"} by ${fixed(Math.abs(push[0]), 3)}.`}`);
    };
    update();
  };

  // -- chapter 13: a beam on a small tree ----------------------------------------------------------------------------

  /** What a beam of `size` keeps at each of two steps, best first; `un` is the probability of *un* as the first word. */
  const beam = (size, un) => {
    const tree = {
      la: [(5 / 9) * (1 - un), { bicyclette: 0.4, voiture: 0.35, moto: 0.25 }], le: [(4 / 9) * (1 - un), { vélo: 0.9, tricycle: 0.1 }],
      un: [un, { vélo: 1 }],
    };
    const best = (outputs) => [...outputs].sort((a, b) => b.p - a.p);
    const first = best(Object.entries(tree).map(([word, [p]]) => ({ text: word, p })));
    const longer = (kept) => best(kept.flatMap(({ text, p }) => Object.entries(tree[text][1]).map(([word, q]) => ({ text: `${text} ${word}`, p: p * q }))));
    const second = longer(first.slice(0, size)), all = longer(first);
    return { first, second, all };
  };

  const choose = (root) => {
    const size = slider("Beam size", { min: 1, max: 3, step: 1, value: 1 }, () => update());
    const un = slider("Probability of un", { min: 0.05, max: 0.6, step: 0.01, value: 0.1 }, () => update());
    const bodies = [make("tbody"), make("tbody")];
    const table = (body, caption) => make("table", { class: "play-bars play-beam" }, make("caption", {}, caption), body);
    const say = frame(root, "What a beam keeps",
      "Widen the beam. Then set un so that a beam of two misses the best sentence.",
      make("div", { class: "play-controls" }, size.row, un.row), table(bodies[0], "After the first word"), table(bodies[1], "After the second word"));
    const update = () => {
      const kept = +size.input.value, { first, second, all } = beam(kept, +un.input.value), [won] = second, [most] = all;
      size.output.textContent = kept;
      un.output.textContent = fixed(+un.input.value);
      [first, all].forEach((outputs, step) => bodies[step].replaceChildren(...outputs.map(({ text, p }) => {
        const reached = step === 0 || second.some((output) => output.text === text);
        const alive = (step ? second : first).slice(0, kept).some((output) => output.text === text);
        return make("tr", { class: alive ? null : "play-dropped" }, make("th", { scope: "row" }, text),
          make("td", {}, make("span", { class: `play-bar play-weight`, style: `--value:${p}` }), make("span", { class: "play-number" }, fixed(p))),
          make("td", {}, alive ? "kept" : reached ? "dropped" : "never seen"));
      })));
      say(`${kept === 1 ? "Greedy decoding" : `A beam of ${kept}`} ends with ${won.text}, ${fixed(won.p)}. `
        + (won.text === most.text ? "No sentence is more probable." : `It misses ${most.text}, ${fixed(most.p)}.`));
    };
    update();
  };

  // -- chapter 14: a change cut to a rank --------------------------------------------------------------------------------

  /** Shows what is left of a recorded change when each of its matrices is cut to a rank: of its size, and of its effect. */
  const cut = (root) => {
    const trace = JSON.parse(root.dataset.trace), width = trace.at(-1).rank;
    const rank = slider("Rank r", { min: 0, max: trace.length - 1, step: 1, value: 3 }, () => update());
    const body = make("tbody");
    const say = frame(root, "How much of the change does a rank hold?",
      "The model was fine-tuned in full; then the change of each matrix was cut to a rank. Find the smallest rank that still cooks.",
      make("div", { class: "play-controls" }, rank.row),
      make("table", { class: "play-bars play-reach" }, make("caption", {}, "Percent"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Of"), make("th", { scope: "col" }, "Is left"))), body));
    const update = () => {
      const { rank: r, share, recipes, grammar } = trace[rank.input.value], size = Math.min(1, (2 * r) / width);
      rank.output.textContent = r;
      rank.input.setAttribute("aria-valuetext", String(r));
      const rows = { numbers: size, change: share, recipes: recipes / 100, grammar: grammar / 100 };
      body.replaceChildren(...Object.entries(rows).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name),
        make("td", {}, make("span", { class: `play-bar play-weight${name === "grammar" ? " play-burst" : ""}`, style: `--value:${value}` }), make("span", { class: "play-number" }, fixed(100 * value, 0))))));
      say(`Cut to rank ${r}, a square matrix needs ${fixed(100 * size, 0)} % of its numbers and keeps ${fixed(100 * share, 0)} % of the change. `
        + `The model translates ${recipes} of 100 recipes and ${grammar} of 100 old sentences without a mistake.`);
    };
    update();
  };

  // -- chapter 11: sentences cut into padded batches ------------------------------------------------------------------

  /** Cuts lengths, in their order, into groups whose rectangle holds at most `places`. */
  const cutInto = (lengths, places) => lengths.reduce((groups, length) => {
    const last = groups[groups.length - 1];
    if (last && Math.max(...last, length) * (last.length + 1) <= places) last.push(length);
    else groups.push([length]);
    return groups;
  }, []);

  const batches = (root) => {
    const drawn = root.dataset.lengths.split(" ").map(Number), widest = Math.max(...drawn);
    let lengths = drawn.map((_, i) => drawn[(7 * i + 3) % drawn.length]); // captions and everyday sentences mixed
    const budget = slider("Places in a batch", { min: 24, max: 160, step: 4, value: 64 }, () => update());
    const sort = make("input", { type: "checkbox", role: "switch", onchange: () => update() });
    const others = () => {
      const keys = normal(lengths.length, lengths.reduce((sum, length, i) => sum + length * (i + 1), 0));
      lengths = lengths.map((length, i) => [keys[i], length]).sort((a, b) => a[0] - b[0]).map(([, length]) => length);
      update();
    };
    const page = make("div", { class: "play-page", "aria-hidden": "true" });
    const say = frame(root, "Cut the batches yourself",
      "24 sentences, a row each: blue is words, hatched is padding. Enlarge the batches; then sort by length.",
      make("div", { class: "play-controls" }, budget.row, make("label", { class: "play-switch" }, sort, make("span", {}, "sort by length")),
        make("button", { type: "button", class: "play-button", onclick: others }, "Another order")),
      page);
    const update = () => {
      const order = sort.checked ? [...lengths].sort((a, b) => a - b) : lengths;
      const groups = cutInto(order, +budget.input.value);
      budget.output.textContent = budget.input.value;
      page.replaceChildren(...groups.map((group) => make("div", { class: "play-batch" }, ...group.map((length) => make("div", { class: "play-filler", style: `width:${(100 * Math.max(...group)) / widest}%` },
        make("span", { style: `width:${(100 * length) / Math.max(...group)}%` }))))));
      const places = groups.reduce((sum, group) => sum + group.length * Math.max(...group), 0), real = order.reduce((sum, length) => sum + length, 0);
      say(`${groups.length} batches have ${places} places for ${real} words: ${Math.round(100 * (1 - real / places))} % is padding.`);
    };
    update();
  };

  // -- the first page: a sentence crosses into French ----------------------------------------------------------------

  /** Plays a recorded translation: each French word is written, and lines show where it looked. */
  const hero = (root) => {
    const { source, target, weights } = JSON.parse(root.dataset.trace);
    const row = 27, width = 320, left = 96, right = 214, height = row * Math.max(source.length, target.length) + 6;
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const at = (index) => row * index + row / 2 + 3;
    const words = (side, names, x, anchor) => names.map((name, n) => svg("text", { class: `hero-${side}`, x, y: at(n), "text-anchor": anchor, "dominant-baseline": "central" }, name));
    const english = words("source", source, left - 8, "end"), french = words("target", target, right + 8, "start");
    const lines = weights.map((looked, t) => svg("g", { class: "hero-lines" }, ...looked.flatMap((weight, s) => (weight < 0.05 ? [] : [svg("path", {
      d: `M${left},${at(s)} C${left + 60},${at(s)} ${right - 60},${at(t)} ${right},${at(t)}`, style: `--weight:${weight}` })]))));
    const picture = svg("svg", { class: "hero-picture", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...lines, ...english, ...french);
    const button = make("button", { type: "button", class: "play-button", onclick: () => play() }, "Play again");
    const site = new URL(document.documentElement.dataset.content_root || "./", location.href);
    const field = make("input", { type: "text", class: "hero-field", placeholder: "Type an English sentence", "aria-label": "Your own sentence, in English", maxlength: 200 });
    const form = make("form", { class: "hero-form", onsubmit: (event) => {
      event.preventDefault();
      if (field.value.trim()) location.href = `${site}book/playground.html#${new URLSearchParams({ s: field.value.trim() })}`;
    } }, field, make("button", { type: "submit", class: "play-button" }, "Translate"));
    const caption = root.querySelector("p");
    root.replaceChildren(picture, make("div", { class: "hero-controls" }, form, button), ...(caption ? [caption] : []));
    let timer;
    const show = (now) => { // the word that is being written; after the last one, all of them
      const whole = now >= target.length;
      french.forEach((word, t) => word.classList.toggle("hero-hidden", !whole && t > now));
      lines.forEach((group, t) => { group.classList.toggle("hero-now", t === now); group.classList.toggle("hero-hidden", !whole && t > now); });
      english.forEach((word, s) => word.classList.toggle("hero-seen", !whole && weights[now][s] >= 0.2));
    };
    const play = () => {
      clearTimeout(timer);
      if (still.matches) { show(target.length); return; }
      let now = -1;
      const step = () => {
        now += 1;
        show(now);
        if (now < target.length) timer = setTimeout(step, now ? 520 : 900);
      };
      french.forEach((word) => word.classList.add("hero-hidden"));
      lines.forEach((group) => group.classList.add("hero-hidden"));
      step();
    };
    // point at a word to see its lines alone
    const light = (t) => { clearTimeout(timer); show(target.length); lines.forEach((group, n) => group.classList.toggle("hero-now", n === t)); root.classList.toggle("hero-one", t >= 0); };
    french.forEach((word, t) => { word.addEventListener("pointerenter", () => light(t)); word.addEventListener("pointerleave", () => light(-1)); });
    play();
  };

  // -- chapter 15: what a cache holds --------------------------------------------------------------------------------

  /** GiB of keys and values: 32 layers, heads of width 128, two bytes for each number. */
  const cacheSize = (heads, tokens) => (2 * 32 * heads * 128 * tokens * 2) / 2 ** 30;

  const cache = (root) => {
    const weights = 12.6; // GiB: 6.7 billion numbers of two bytes
    const heads = slider("Heads of keys and values", { min: 0, max: 5, step: 1, value: 5 }, () => update());
    const tokens = slider("Tokens read", { min: 10, max: 17, step: 1, value: 12 }, () => update());
    const narrow = make("input", { type: "checkbox", role: "switch", onchange: () => update() });
    const body = make("tbody");
    const say = frame(root, "How large is the cache?",
      "A model with 32 layers and 32 heads of queries reads one text. Lengthen the text until the cache outgrows the weights; then share heads, or keep a window.",
      make("div", { class: "play-controls" }, heads.row, tokens.row,
        make("label", { class: "play-switch" }, narrow, make("span", {}, "keep the last 4,096 only"))),
      make("table", { class: "play-bars play-words" }, make("caption", {}, "Memory in GiB, two bytes for each number"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "What"), make("th", { scope: "col" }, "GiB"))), body));
    const update = () => {
      const g = 2 ** heads.input.value, read = 2 ** tokens.input.value, kept = narrow.checked ? Math.min(read, 4096) : read;
      const size = cacheSize(g, kept), most = Math.max(size, weights), written = read.toLocaleString("en");
      for (const [part, value] of [[heads, String(g)], [tokens, read < 2048 ? written : `${read / 1024}K`]]) part.output.textContent = value;
      heads.input.setAttribute("aria-valuetext", String(g));
      tokens.input.setAttribute("aria-valuetext", written);
      body.replaceChildren(...[["weights", weights], ["cache", size]].map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name),
        make("td", {}, make("span", { class: "play-bar play-weight", style: `--value:${value / most}` }), make("span", { class: "play-number" }, fixed(value, value < 1 ? 2 : 1))))));
      say(`${g === 32 ? "Each head of queries has its own keys and values" : `${32 / g} heads of queries share each head of keys and values`}. For ${written} tokens the cache holds ${fixed(size, size < 1 ? 2 : 1)} GiB, ${fixed(size / weights, 2)} times the weights.`);
    };
    update();
  };

  window.bookFigures = { softmax, draw, encode, scores, arrives, fire, normalise, rotaryScore, parameters, smoothed, beam, cacheSize };
  const figures = { hero, reach, query, scale, clock, paint, unit, norm, rotary, merges, likeness, layer, writing, sizes, target, choose, cut, batches, cache };
  document.addEventListener("DOMContentLoaded", () => {
    for (const root of document.querySelectorAll("[data-figure]")) figures[root.dataset.figure](root);
  });
})();
