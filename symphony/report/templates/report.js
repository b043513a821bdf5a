"use strict";
(() => {
  const LONG = 20; // rows of a table that are shown at first
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A cell's number: "−0.10 [−0.2, 0.0]" is -0.1, "<0.001" is 0, a dash is the smallest.
  const number = text => {
    const value = parseFloat(text.replace(/[,\s]/g, "").replace("\u2212", "-").replace(/^\+/, "").replace(/^<0\.001/, "0"));
    return Number.isNaN(value) ? -Infinity : value;
  };

  for (const section of $("section.table")) {
    const body = section.querySelector("tbody");
    if (!body) continue;
    const rows = [...body.rows];
    const box = section.querySelector("input"), choice = section.querySelector("select");
    const all = section.querySelector("button.all"), told = section.querySelector("output");
    const texts = rows.map(row => row.textContent.toLowerCase());
    let whole = false;

    const show = () => {
      const words = box ? box.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      const kept = new Set(rows.filter((row, at) =>
        words.every(word => texts[at].includes(word)) && (!choice || !choice.value || row.dataset.part === choice.value)));
      let count = 0;
      for (const row of body.rows) {
        row.classList.toggle("out", !kept.has(row));
        row.classList.toggle("later", kept.has(row) && !whole && ++count > LONG);
      }
      section.classList.toggle("one", !!choice && !!choice.value);
      if (all) {
        all.hidden = whole || kept.size <= LONG;
        all.textContent = `show all ${kept.size} rows`;
      }
      if (told) told.textContent = `${kept.size} of ${rows.length} rows`;
    };

    for (const button of $("th button", section)) {
      button.addEventListener("click", () => {
        const head = button.parentElement, at = head.cellIndex, numeric = head.classList.contains("n");
        const cycle = numeric ? ["none", "descending", "ascending"] : ["none", "ascending", "descending"];
        const next = cycle[(cycle.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of $("th", section)) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        const key = row => numeric ? number(row.cells[at].textContent) : row.cells[at].textContent;
        const order = numeric ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
        const sorted = next === "none" ? rows : [...rows].sort(next === "ascending" ? order : (a, b) => order(b, a));
        body.append(...sorted);
        show();
      });
    }
    if (box) box.addEventListener("input", show);
    if (choice) choice.addEventListener("change", show);
    if (all) all.addEventListener("click", () => { whole = true; show(); });
    show();
  }

  // Legends of columns and values of marks, on hover and on focus.
  const tooltip = document.getElementById("tooltip");
  for (const mark of $("svg .tip")) {
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  const said = target => target.dataset.tip || document.getElementById(target.getAttribute("aria-describedby"))?.textContent;
  const tell = event => {
    const target = event.target.closest?.("[data-tip], th button[aria-describedby]");
    const text = target && said(target);
    tooltip.hidden = !text;
    if (!text) return;
    tooltip.textContent = text;
    const place = target.getBoundingClientRect(), own = tooltip.getBoundingClientRect(), wide = document.documentElement.clientWidth;
    const below = place.bottom + own.height + 12 < innerHeight;
    tooltip.style.left = `${scrollX + Math.max(8, Math.min(place.left, wide - own.width - 8))}px`;
    tooltip.style.top = `${scrollY + (below ? place.bottom + 6 : place.top - own.height - 6)}px`;
  };
  document.addEventListener("pointerover", tell);
  document.addEventListener("focusin", tell);
  document.addEventListener("keydown", event => { if (event.key === "Escape") tooltip.hidden = true; });

  // A link opens what it leads to; printing shows everything.
  const folds = $("details");
  const follow = () => {
    let target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();
  let closed = [];
  addEventListener("beforeprint", () => { closed = folds.filter(one => !one.open); for (const one of closed) one.open = true; });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  const every = document.getElementById("every"), chapters = $("details.chapter");
  every.hidden = false;
  every.addEventListener("click", () => {
    const open = chapters.some(one => !one.open);
    for (const one of chapters) one.open = open;
  });
  const name = () => { every.textContent = chapters.some(one => !one.open) ? "open all" : "close all"; };
  for (const one of chapters) one.addEventListener("toggle", name);
  name();
})();
