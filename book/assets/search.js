// The search: results while one types, in the dialog of every page and on a page of its own.  Its index is one classic
// script, fetched when the field is first used, so that it works from disk; MiniSearch finds and ranks.
document.addEventListener("DOMContentLoaded", () => {
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href);
  const COMMON = new Set("a an and are as at be by can do does for from has how i in is it of on or that the this to what when which why with you".split(" "));
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/√/g, " square root ");
  const words = (text) => fold(text).match(/[\p{L}\p{N}]+/gu) ?? [];
  // "divides", "dividing" and "divided" begin alike
  const stem = (word) => (word.length < 5 ? word : word.replace(/(ation|ing|ed|es|s|e)$/, ""));
  const make = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };

  let engine;
  const ready = async () => {
    if (!engine) {
      engine = Promise.all(["_static/search/minisearch.js", "_static/search/index.js"].map(window.bookScript)).then(() => {
        const search = new MiniSearch({
          fields: ["heading", "page", "text"],
          storeFields: ["kind", "address", "heading", "page", "text"],
          tokenize: words,
          processTerm: (word) => stem(word),
        });
        search.addAll(bookIndex.flatMap(([url, page, entries]) => entries.map(([kind, place, heading, text]) => ({
          address: url + (place && `#${place}`), kind, heading, page, text,
        }))).map((entry, id) => ({ id, ...entry })));
        return search;
      });
      engine.catch(() => { engine = undefined; }); // to be asked for again
    }
    return engine;
  };

  const find = async (query) => {
    const search = await ready();
    const asked = words(query);
    const meant = asked.filter((word) => !COMMON.has(word));
    const wanted = (meant.length ? meant : asked).map(stem);
    const options = {
      tokenize: (text) => text.split(" "),
      processTerm: (word) => word,
      prefix: true,
      boost: { heading: 5, page: 1.5 },
      // what is called just so comes first; a page of the reference is rarely what a reader of words means
      boostDocument: (id, term, entry) => {
        const called = words(entry.heading).filter((word) => !COMMON.has(word)).map(stem);
        const same = called.join(" ") === wanted.join(" ");
        const all = wanted.every((word) => called.some((other) => other.startsWith(word)));
        return (same ? 3 : all ? 1.6 : 1) * { section: 1, term: 1.2, code: /[_.]/.test(query) ? 2 : 0.4 }[entry.kind];
      },
    };
    const found = search.search(wanted.join(" "), { ...options, combineWith: "AND" });
    if (found.length > 4) return found;
    // where few places have all the words, those that have some of them, or one spelt nearly so
    const known = new Set(found.map((entry) => entry.id));
    return [...found, ...search.search(wanted.join(" "), { ...options, fuzzy: found.length ? 0 : 0.2 }).filter((entry) => !known.has(entry.id))];
  };

  // The part of a text where the words stand, the words marked.
  const excerpt = (text, terms) => {
    const marks = [...text.matchAll(/[\p{L}\p{N}]+/gu)].filter(([word]) => terms.includes(stem(fold(word))));
    const from = marks.length && marks[0].index > 80 ? text.lastIndexOf(" ", marks[0].index - 50) + 1 : 0;
    const to = text.length - from > 190 ? text.lastIndexOf(" ", from + 180) : text.length;
    const parts = [from ? "… " : ""];
    let at = from;
    for (const { 0: word, index } of marks.filter((mark) => mark.index >= from && mark.index + mark[0].length <= to)) {
      parts.push(text.slice(at, index), make("mark", {}, word));
      at = index + word.length;
    }
    return [...parts, text.slice(at, to), to < text.length ? " …" : ""];
  };

  const KINDS = { term: "Glossary", code: "Reference" };
  for (const form of document.querySelectorAll("form.bd-search")) {
    const field = form.querySelector("input[type=search]");
    const most = form.closest("dialog") ? 6 : 30;
    const status = make("p", { className: "found-status", role: "status" });
    const list = make("ol", { className: "found" });
    form.after(status, list);
    let turn = 0;
    const show = async () => {
      const query = field.value.trim();
      const mine = ++turn;
      if (!query) return void [status, list].forEach((element) => element.replaceChildren());
      let found;
      try {
        found = await find(query);
      } catch {
        status.textContent = "The index of the search did not arrive; type on to try again.";
        return;
      }
      if (mine !== turn) return;
      list.replaceChildren(...found.slice(0, most).map((entry) => make("li", {}, make("a", { href: new URL(entry.address, root).href },
        make("strong", {}, entry.heading), make("span", { className: "found-page" }, KINDS[entry.kind] ?? (entry.page === entry.heading ? "" : entry.page))),
      make("p", {}, ...excerpt(entry.text, entry.terms)))));
      const number = found.length > most && form.closest("dialog") ? `The first ${most} of ${found.length} places; Enter shows more.` : `${found.length} ${found.length === 1 ? "place" : "places"}`;
      status.textContent = found.length ? number : `Nothing is said of “${query}”.`;
    };
    field.addEventListener("focus", () => ready().catch(() => {}), { once: true });
    field.addEventListener("input", () => {
      if (!form.closest("dialog")) history.replaceState(null, "", `?${new URLSearchParams({ q: field.value })}`);
      show();
    });
    if (form.closest("dialog")) continue;
    form.addEventListener("submit", (event) => event.preventDefault());
    field.value = new URLSearchParams(location.search).get("q") ?? "";
    field.focus();
    show();
  }
});
