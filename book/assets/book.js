// Small repairs to the theme.  No request, no state.
const SCROLL = ".table-scroll, .figure-scroll, .cell_output, article pre, div.math, .pst-scrollable-table-container";
document.addEventListener("DOMContentLoaded", () => {
  // A label that differs from the text a control shows misleads speech input: let the text be the label.
  for (const control of document.querySelectorAll("button[aria-label], summary[aria-label]")) {
    if (control.textContent.trim()) control.removeAttribute("aria-label");
  }
  for (const icon of document.querySelectorAll("button[aria-label] i[title]")) {
    icon.removeAttribute("title");
    icon.setAttribute("aria-hidden", "true");
  }
  // The arrow that unfolds a part of the side bar has no text of its own.
  for (const summary of document.querySelectorAll(".bd-sidebar summary")) {
    const name = summary.closest("li")?.querySelector("a")?.textContent.trim();
    summary.setAttribute("aria-label", `Pages of ${name || "this part"}`);
  }
  // A notebook is saved, not shown as text in another tab.
  for (const button of document.querySelectorAll(".btn-download-source-button")) {
    button.download = "";
    button.removeAttribute("target");
  }
  // A list of references holds anchors beside its entries, which a list may not.
  for (const list of document.querySelectorAll(".citation-list")) list.setAttribute("role", "none");
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "none");
  // A table or an output that is wider than a phone scrolls by itself, not the page; the keyboard reaches it too.
  for (const table of document.querySelectorAll("article table")) {
    if (table.closest(".table-scroll, .pst-scrollable-table-container")) continue;
    const box = document.createElement("div");
    box.className = "table-scroll";
    table.replaceWith(box);
    box.append(table);
  }
  // What is underlined in the title of a solution begins with a word, not with the blank before it.
  for (const link of document.querySelectorAll(".solution > .admonition-title > a")) {
    const text = link.firstChild;
    if (!text?.data?.startsWith(" ")) continue;
    text.data = text.data.slice(1);
    link.before(" ");
  }
  // A long name breaks where its words end, as press/site/storefront.py has it break in the text.
  for (const name of document.querySelectorAll(".bd-links a, .prev-next-title")) {
    const walker = document.createTreeWalker(name, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts) {
      const words = text.data.split(/(\s+)/);
      if (words.some((word) => /[-._:/]/.test(word))) text.replaceWith(...words.flatMap(breakable));
    }
  }
  // A full stop or a comma does not begin a line after a formula.
  for (const formula of document.querySelectorAll("article span.math")) {
    const [sign] = /^[.,;:!?)\]]+/.exec(formula.nextSibling?.data ?? "") ?? [];
    if (!sign) continue;
    const pair = document.createElement("span");
    pair.className = "no-break";
    formula.nextSibling.splitText(sign.length);
    const after = formula.nextSibling;
    formula.replaceWith(pair);
    pair.append(formula, after);
  }
  // What is copied of a formula is its TeX.
  document.addEventListener("copy", (event) => {
    const selection = getSelection();
    if (selection.isCollapsed) return;
    const range = selection.getRangeAt(0).cloneRange();
    const around = (node) => {
      const element = node.closest ? node : node.parentElement;
      return element.closest(".katex-display") ?? element.closest(".katex");
    };
    const [first, last] = [around(range.startContainer), around(range.endContainer)];
    if (first) range.setStartBefore(first);
    if (last) range.setEndAfter(last);
    const copy = document.createElement("div");
    copy.className = "copied";
    copy.append(range.cloneContents());
    const formulas = copy.querySelectorAll(".katex");
    if (!formulas.length) return;
    for (const formula of formulas) {
      const sign = formula.parentElement.matches(".katex-display") ? "$$" : "$";
      formula.replaceWith(sign + formula.querySelector("annotation").textContent + sign);
    }
    document.body.append(copy);
    event.clipboardData.setData("text/plain", copy.innerText);
    copy.remove();
    event.preventDefault();
  });
  function breakable(word) {
    if (word.length <= 16) {
      if (!/[-/]/.test(word)) return [word];
      const whole = document.createElement("span");
      whole.className = "no-break";
      whole.textContent = word;
      return [whole];
    }
    const parts = word.replace(/(\w[._:/]+)(?=\w)/g, "$1\0").split("\0");
    return parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
  }
  function reach(box) {
    const hidden = box.scrollWidth - box.clientWidth;
    if (hidden > 0) box.tabIndex = 0;
    const beyond = hidden - box.scrollLeft;
    box.classList.toggle("goes-on", beyond > 2);
    if (beyond > 2) box.style.setProperty("--beyond", `${Math.min(Math.max(beyond, 18), 42)}px`);
  }
  const reachAll = () => document.querySelectorAll(SCROLL).forEach(reach);
  reachAll();
  for (const event of ["resize", "load"]) addEventListener(event, reachAll);
  for (const event of ["toggle", "change"]) document.addEventListener(event, reachAll, true); // what was folded away
  document.addEventListener("scroll", ({ target }) => target !== document && target.matches(SCROLL) && reach(target), { capture: true, passive: true });
});
