// Hover cards: what a link inside the book leads to, shown beside it while the pointer or the keyboard is on it.
// The texts lie in _static/cards, one classic script for each page, fetched when the first card of that page is asked for.
(() => {
  const root = new URL(document.documentElement.dataset.content_root || "./", location.href);
  const pages = new Map(); // page -> promise of its cards
  const shown = new Map(); // page#place -> the card's content
  let card, link, waiting, given;

  window.bookCards = (page, cards) => given(cards);

  const script = (address) => new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = new URL(address, root).href;
    element.onload = resolve;
    element.onerror = reject;
    document.head.append(element);
  });
  window.bookScript = script; // the search fetches its index so, too

  // One at a time, so that each answer belongs to its question.
  let last = Promise.resolve();
  const load = (page) => {
    if (!pages.has(page)) {
      last = last.then(async () => {
        let cards = {};
        given = (found) => { cards = found; };
        await script(`_static/cards/${page}.js`).catch(() => pages.delete(page)); // to be asked for again
        return cards;
      });
      pages.set(page, last);
    }
    return pages.get(page);
  };

  const target = (anchor) => {
    const [address, place = ""] = anchor.href.split("#");
    const page = address.startsWith(root.href) && address.slice(root.href.length).match(/^(.*)\.html$/);
    return page && [page[1], decodeURIComponent(place)];
  };

  const content = async (anchor) => {
    const found = target(anchor);
    if (!found) return null;
    const key = found.join("#");
    if (!shown.has(key)) {
      const cards = await load(found[0]);
      if (!pages.has(found[0])) return null;
      const text = Object.hasOwn(cards, found[1]) ? cards[found[1]] : "";
      const box = document.createElement("div");
      box.innerHTML = text;
      for (const image of box.querySelectorAll("img")) image.src = new URL(image.dataset.src, root).href;
      shown.set(key, text ? box : null);
    }
    return shown.get(key);
  };

  const place = (anchor) => {
    const box = anchor.getClientRects()[0];
    if (!box) return;
    const width = card.offsetWidth, height = card.offsetHeight, gap = 8;
    const left = Math.max(gap, Math.min(box.left, document.documentElement.clientWidth - width - gap));
    const below = box.bottom + gap + height <= innerHeight || box.top < height + gap;
    card.style.left = `${left + scrollX}px`;
    card.style.top = `${(below ? box.bottom + gap : box.top - gap - height) + scrollY}px`;
  };

  const hide = () => {
    clearTimeout(waiting);
    link?.removeAttribute("aria-describedby");
    link = null;
    if (card) card.hidden = true;
  };

  const show = async (anchor) => {
    hide();
    link = anchor;
    const box = await content(anchor);
    if (link !== anchor) return;
    if (!box) {
      link = null; // so that another try is one
      return;
    }
    anchor.removeAttribute("title"); // the browser's own hint would say the same again
    if (!card) {
      card = document.createElement("div");
      card.id = "book-card";
      card.setAttribute("role", "tooltip");
      card.addEventListener("pointerenter", () => clearTimeout(waiting));
      card.addEventListener("pointerleave", leave);
      document.body.append(card);
    }
    card.replaceChildren(box);
    card.style.visibility = "hidden"; // until it has its size, and then its place
    card.hidden = false;
    anchor.setAttribute("aria-describedby", card.id);
    place(anchor);
    card.style.visibility = "";
  };

  const soon = (action, milliseconds) => { clearTimeout(waiting); waiting = setTimeout(action, milliseconds); };
  const leave = () => soon(hide, 220);

  document.addEventListener("DOMContentLoaded", () => {
    for (const anchor of document.querySelectorAll("article a.reference.internal")) {
      if (!target(anchor) || anchor.querySelector("img")) continue;
      anchor.addEventListener("pointerenter", (event) => {
        if (event.pointerType === "mouse") soon(() => link === anchor || show(anchor), 180);
      });
      anchor.addEventListener("pointerleave", leave);
      anchor.addEventListener("focus", () => { if (anchor.matches(":focus-visible")) show(anchor); });
      anchor.addEventListener("blur", hide);
    }
    addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("pagehide", hide);
  });
})();
