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

  window.bookFigures = { softmax, draw, encode, scores };
  const figures = { query, scale, clock, paint, layer };
  document.addEventListener("DOMContentLoaded", () => {
    for (const root of document.querySelectorAll("[data-figure]")) figures[root.dataset.figure](root);
  });
})();
