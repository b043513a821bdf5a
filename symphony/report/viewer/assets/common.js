// What all pages share: loading data without a server, building elements, numbers as text, long lists.
// Texts of models are data. They enter a page by `element` alone, which makes text nodes: nothing is parsed as HTML.
"use strict";

const received = new Map(); // name of a data script -> its value

/** Called by the scripts of data/ (symphony/report/viewer/packs.py). */
function symphonyData(name, value) {
  received.set(name, value);
}

/** Loads data/<name>.js once and returns its value. Names come from the address, so they are checked. */
function load(name) {
  return new Promise((resolve, reject) => {
    if (received.has(name)) return resolve(received.get(name));
    if (!/^\w[\w.-]*$/.test(name)) return reject(new Error(`${name}: not the name of a run`));
    const script = document.createElement("script");
    script.src = `data/${name}.js`;
    script.onload = () => resolve(received.get(name));
    script.onerror = () => reject(new Error(`data/${name}.js cannot be read`));
    document.head.append(script);
  });
}

/** Returns the text of base64 that was compressed by gzip. */
async function inflate(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at); // far quicker than Uint8Array.from
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** Returns a text of a run that lies in one or more scripts (`Place` in packs.py). */
async function unpack(run, place) {
  const parts = [];
  for (const [number, position] of place) parts.push((await load(`${run}.${number}`))[position]);
  return inflate(parts.join(""));
}

/** Makes an element; strings among its children become text. `on*` attributes are listeners, true means present. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const byId = (id) => document.getElementById(id);
const whole = (number) => number.toLocaleString("en");
const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
const decimal = (number, digits = 2) =>
  number === null || number === undefined ? "–" : number.toFixed(digits).replace(/^(-?)0\./, "$1.");

/** Dollars as text; nothing for calls that cost none. */
function dollars(cost) {
  if (cost === null) return "price unknown";
  return cost === 0 ? "" : `$${cost < 0.01 ? cost.toPrecision(2) : cost.toFixed(2)}`;
}

/** A problem's id without the name of its task, which stands beside it. */
function shortId(problem, task) {
  return problem.startsWith(task) ? problem.slice(task.length).replace(/^[-_/ ]+/, "") || problem : problem;
}

const shortCommit = (commit) => commit.replace(/^([0-9a-f]{10})[0-9a-f]+/, "$1");

/** The parts of an address's fragment. */
const fragment = () => location.hash.slice(1);

let rewriting = 0;

/**
 * Changes the fragment without a new entry in the history; soon, since browsers refuse hundreds of changes a minute.
 * An address that the reader opens in the meantime stays.
 */
function rewriteFragment(text) {
  const before = location.hash;
  clearTimeout(rewriting);
  rewriting = setTimeout(() => {
    if (location.hash === before) history.replaceState(null, "", `#${text}`);
  }, 150);
}

/** The address of a problem's page, or of a node in it. */
function treeAddress(run, problem, node) {
  const parts = [encodeURIComponent(run), encodeURIComponent(problem)];
  return `tree.html#${parts.concat(node === undefined ? [] : [node]).join("/")}`;
}

/** Colours and marks: a star is a right end, a triangle a wrong one. */
const MARKS = { right: "★", wrong: "▲", ungraded: "◆" };
const AGENT_COLOURS = 8; // --agent-0, ... in viewer.css
const agentColour = (index) => `var(--agent-${index % AGENT_COLOURS})`;

/** A badge for the outcome of a problem. */
function outcomeBadge(success) {
  const word = success ? "solved" : "not solved";
  return element("span", { class: `badge ${success ? "right" : "wrong"}` }, `${success ? MARKS.right : MARKS.wrong} ${word}`);
}

/**
 * Fills a scrolling container with rows of equal height, of which only the visible ones exist.
 * Returns an object whose `show(count, make)` sets the rows and whose `reveal(index)` scrolls to one.
 */
function longList(container, height) {
  const inner = element("div", { class: "rows" });
  container.replaceChildren(inner);
  let count = 0;
  let make = () => element("div");
  const draw = () => {
    const first = Math.max(0, Math.floor(container.scrollTop / height) - 10);
    const last = Math.min(count, Math.ceil((container.scrollTop + container.clientHeight) / height) + 10);
    const rows = [];
    for (let index = first; index < last; index++) {
      const row = make(index);
      row.style.top = `${index * height}px`;
      row.style.height = `${height}px`;
      rows.push(row);
    }
    inner.style.height = `${count * height}px`;
    inner.replaceChildren(...rows);
  };
  container.onscroll = draw;
  new ResizeObserver(draw).observe(container);
  return {
    show(newCount, newMake) {
      count = newCount;
      make = newMake;
      draw();
    },
    reveal(index) {
      const top = index * height;
      if (top < container.scrollTop || top + height > container.scrollTop + container.clientHeight) {
        container.scrollTop = top - container.clientHeight / 2;
      }
      draw();
    },
  };
}

/** Shows an error instead of an empty page. */
function showError(error) {
  document.querySelector("main").replaceChildren(element("p", { class: "error", role: "alert" }, String(error.message || error)));
}
