// The page of one search: #<run>/<problem>/<node>. Loads its data, keeps what is selected, and hears keys and buttons.
"use strict";

const TABS = { node: "Node", calls: "Calls", lessons: "Lessons" };
const PAUSE = 550; // milliseconds between two calls while the search plays

class TreePage {
  constructor(described, problem, entry) {
    this.described = described;
    this.run = described.run;
    this.problem = problem;
    this.agents = agentNames(this.run, problem);
    this.withoutPrompts = described.without_prompts;
    this.promptsKnown = false;
    this.readAt = new Map(); // node -> numbers of the lessons in the prompts of its calls
    this.selected = 0;
    this.step = problem.calls.length;
    this.stepping = false; // whether the panel follows the steps
    this.tab = "node";
    this.index();
    this.map = new TreeMap(byId("map"), problem, this.agents, (id) => this.select(id));
    this.prompts = this.loadPrompts(entry);
  }

  // ------------------------------------------------------------------ data

  /** Finds quickly which calls belong to a node, and which node to a call. */
  index() {
    const { nodes, calls } = this.problem;
    this.madeBy = new Map(); // call -> first node that it made
    this.callsAt = nodes.map(() => []);
    for (const node of nodes) if (node.made && !this.madeBy.has(node.made - 1)) this.madeBy.set(node.made - 1, node.node);
    for (const call of calls) this.callsAt[call.node]?.push(call);
  }

  callsOf(id) {
    const { nodes, calls } = this.problem;
    const here = this.callsAt[id];
    const of = (...phases) => here.filter((call) => phases.includes(call.phase));
    const asked = of("expand", "sim_expand");
    const made = id && nodes[id].made ? [calls[nodes[id].made - 1]].filter((call) => call && /expand$/.test(call.phase)) : [];
    return { made, judged: of("evaluate", "sim_evaluate"), reflected: of("reflect"), asked };
  }

  /** The node that a call is shown at: the one that it made, else the one that it was asked for. */
  nodeOf(call) {
    return this.madeBy.get(call.call) ?? Math.min(call.node, this.problem.nodes.length - 1);
  }

  async loadPrompts(entry) {
    const kept = new Map();
    if (!entry.prompts.length) return kept;
    await new Promise((resolve) => setTimeout(resolve, 60)); // the tree is drawn first
    const lines = (await unpack(this.run.run, entry.prompts)).trimEnd().split("\n");
    for (const line of lines) {
      const { prompt, messages } = JSON.parse(line);
      kept.set(prompt, messages);
    }
    this.promptsKnown = true;
    this.findReaders(kept);
    return kept;
  }

  /** Where lessons were read: their text stands in the prompt of a later call. */
  findReaders(prompts) {
    const { lessons, calls } = this.problem;
    if (!lessons.length) return;
    const inside = new Map(); // prompt -> numbers of the lessons in it
    for (const [name, messages] of prompts) {
      const held = lessons.filter((lesson) => lesson.text && messages.some((message) => message.content.includes(`- ${lesson.text}`)));
      if (held.length) inside.set(name, held.map((lesson) => lesson.reflection));
    }
    for (const call of calls) {
      for (const number of inside.get(call.prompt) || []) {
        const known = this.readAt.get(call.node) || [];
        if (!known.includes(number)) this.readAt.set(call.node, [...known, number]);
      }
    }
    this.map.read = new Set(this.readAt.keys());
    this.map.draw();
    this.showPanel();
  }

  address(id) {
    return treeAddress(this.run.run, this.problem.problem, id);
  }

  // ------------------------------------------------------------------ what is shown

  show() {
    const { run, problem } = this;
    const name = shortId(problem.problem, run.task);
    document.title = `${run.task} ${name} · ${run.title} · symphony`;
    byId("title").textContent = `${run.task} · ${name}`;
    byId("outcome").replaceChildren(outcomeBadge(problem.success));
    byId("identity").replaceChildren(...identityParts(run, problem));
    byId("facts").textContent = factsOf(problem);
    byId("all").href = `index.html#${new URLSearchParams({ experiment: run.experiment, task: run.task })}`;
    byId("stage").style.setProperty("--rows", this.map.layout.rows); // a low tree takes less of a small screen
    this.showNeighbours();
    this.showLegend();
    byId("step").max = this.step;
    byId("step").value = this.step;
    byId("tabs").replaceChildren(
      ...Object.entries(TABS).map(([name_, label]) => {
        const count = { node: "", calls: ` ${whole(problem.calls.length)}`, lessons: ` ${whole(problem.lessons.length)}` }[name_];
        return element("button", { type: "button", role: "tab", id: `tab-${name_}`, "aria-controls": "panel", onclick: () => this.openTab(name_) }, label, element("small", {}, count));
      }),
    );
    this.openTab("node");
    this.showMoment();
  }

  showNeighbours() {
    const { problems } = this.described;
    const at = problems.findIndex((entry) => entry.problem === this.problem.problem);
    for (const [id, entry] of [["before", problems[at - 1]], ["after", problems[at + 1]]]) {
      byId(id).hidden = !entry;
      if (entry) byId(id).href = treeAddress(this.run.run, entry.problem);
    }
  }

  showLegend() {
    const agents = this.agents.map((name) => agentChip(this, name));
    const ends = [["right", "right end"], ["wrong", "wrong end"], ["ungraded", "not graded"]];
    const found = new Set(this.problem.nodes.map((node) => verdict(node, this.map.grades)));
    const marks = ends.filter(([end]) => found.has(end)).map(([end, text]) => element("span", {}, `${MARKS[end]} ${text}`));
    const simulated = this.problem.nodes.some((node) => node.origin === "simulate");
    const lessons = this.problem.lessons.length > 0;
    byId("legend").replaceChildren(
      ...agents,
      ...marks,
      element("span", {}, "◎ answer"),
      simulated ? element("span", {}, "○ simulated") : "",
      lessons ? element("span", { class: "lessons" }, element("i", { class: "square full" }), "lesson born", element("i", { class: "square" }), "read") : "",
      element("span", { class: "order", title: "Edges are shaded by the call that made them" }, "first call", element("i", { class: "ramp" }), "last"),
    );
  }

  openTab(name) {
    this.tab = name;
    for (const key of Object.keys(TABS)) byId(`tab-${key}`).setAttribute("aria-selected", String(key === name));
    const panel = byId("panel");
    panel.classList.toggle("ledger", name === "calls");
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    panel.onscroll = null;
    panel.scrollTop = 0;
    if (name === "calls") {
      this.ledger = longList(panel, CALL_ROW);
      this.showPanel();
      this.ledger.reveal(Math.max(0, this.step - 1));
    } else this.showPanel();
  }

  showPanel() {
    const panel = byId("panel");
    if (this.tab === "calls") this.ledger.show(this.problem.calls.length, (index) => callRow(this, this.problem.calls[index]));
    else panel.replaceChildren(...(this.tab === "node" ? nodePanel(this) : lessonsPanel(this)).filter((part) => part));
  }

  /** Selects a node and shows it. */
  select(id, { centre = false, keepStep = false } = {}) {
    if (!(id >= 0 && id < this.problem.nodes.length)) return;
    this.selected = id;
    this.map.selected = id;
    if (!keepStep) this.stepping = false;
    if (this.tab === "lessons" || (this.tab === "calls" && !keepStep)) this.openTab("node");
    this.map.reveal(id, centre);
    rewriteFragment(this.address(id).split("#")[1]);
    const node = this.problem.nodes[id];
    byId("said").textContent = `Node ${id}: ${node.action || "start"}`;
    if (!keepStep || this.tab === "node") byId("panel").scrollTop = 0;
    this.showPanel();
  }

  // ------------------------------------------------------------------ time

  /** Shows the search after so many calls, and the node of the last of them. */
  goTo(step) {
    const { calls } = this.problem;
    this.step = Math.max(0, Math.min(calls.length, step));
    this.map.step = this.step;
    this.stepping = true;
    byId("step").value = this.step;
    this.showMoment();
    this.select(this.step ? this.nodeOf(calls[this.step - 1]) : 0, { keepStep: true });
    if (this.tab === "calls") this.ledger.reveal(Math.max(0, this.step - 1));
    byId("panel").querySelector("details.now")?.scrollIntoView({ block: "nearest" });
  }

  showMoment() {
    const { calls } = this.problem;
    const call = calls[this.step - 1];
    const said = call ? `${whole(this.step)} / ${whole(calls.length)} · iteration ${call.iteration} · ${call.agent} ${PHASES[call.phase] || call.phase}` : `0 / ${whole(calls.length)} · before any call`;
    byId("moment").textContent = said;
    byId("step").setAttribute("aria-valuetext", said);
  }

  play() {
    if (this.playing) return this.pause();
    if (this.step === this.problem.calls.length) this.goTo(0);
    byId("play").textContent = "❚❚";
    this.playing = setInterval(() => {
      this.goTo(this.step + 1);
      if (this.step === this.problem.calls.length) this.pause();
    }, PAUSE);
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    byId("play").textContent = "▶";
  }

  // ------------------------------------------------------------------ search

  /** Finds nodes by their texts and those of their calls; "prompt:" searches the prompts instead. */
  async search(text) {
    const wanted = text.trim().toLowerCase();
    const hits = new Set();
    const { nodes, calls, lessons } = this.problem;
    const holds = (some) => some.toLowerCase().includes(wanted);
    if (wanted.startsWith("prompt:")) {
      const part = wanted.slice(7).trim();
      const prompts = part ? await this.prompts : new Map();
      const found = new Set([...prompts].filter(([, messages]) => messages.some((message) => message.content.toLowerCase().includes(part))).map(([name]) => name));
      for (const call of calls) if (found.has(call.prompt)) hits.add(this.nodeOf(call));
    } else if (wanted) {
      for (const node of nodes) if (holds(node.action) || holds(node.thought) || holds(node.observation)) hits.add(node.node);
      for (const call of calls) if (holds(call.text)) hits.add(this.nodeOf(call));
      for (const lesson of lessons) if (holds(lesson.text)) hits.add(lesson.node);
    }
    this.hits = [...hits].sort((one, other) => one - other);
    this.map.hits = hits;
    this.map.draw();
    byId("hits").textContent = wanted ? (this.hits.length ? plural(this.hits.length, "node") : "nothing") : "";
  }

  nextHit(way) {
    const hits = this.hits || [];
    if (!hits.length) return;
    const after = way > 0 ? hits.findIndex((id) => id > this.selected) : hits.findLastIndex((id) => id < this.selected);
    const at = after >= 0 ? after : way > 0 ? 0 : hits.length - 1;
    byId("hits").textContent = `${at + 1} of ${hits.length}`;
    this.select(hits[at], { centre: true });
  }

  // ------------------------------------------------------------------ keys

  /** The node above, below, before or behind the selected one, as they are drawn. */
  neighbour(key) {
    const { layout, nodes } = this.map;
    const node = nodes[this.selected];
    const column = layout.byDepth[layout.depth[node.node]];
    const at = column.indexOf(node.node);
    const below = layout.children[node.node];
    return { ArrowLeft: node.parent, ArrowRight: below[Math.floor((below.length - 1) / 2)], ArrowUp: column[at - 1], ArrowDown: column[at + 1], Home: 0 }[key];
  }

  listen() {
    const press = (id, action) => byId(id).addEventListener("click", action);
    const keys = this.keys();
    press("play", () => this.play());
    press("back", () => this.goTo(this.step - 1));
    press("forth", () => this.goTo(this.step + 1));
    press("in", keys["+"]);
    press("out", keys["-"]);
    press("fit", keys.f);
    press("answer", keys.a);
    press("help", keys["?"]);
    press("hit-before", () => this.nextHit(-1));
    press("hit-after", () => this.nextHit(1));
    press("json", (event) => this.download(event));
    byId("step").addEventListener("input", (event) => this.goTo(Number(event.target.value)));
    let soon = 0;
    byId("search").addEventListener("input", (event) => {
      clearTimeout(soon);
      soon = setTimeout(() => this.search(event.target.value), 120);
    });
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.search(event.target.value).then(() => this.nextHit(event.shiftKey ? -1 : 1));
      if (event.key === "Escape") event.target.blur();
    });
    document.addEventListener("keydown", (event) => this.onKey(event, keys));
    addEventListener("hashchange", () => {
      const here = this.address(0).split("#")[1].replace(/0$/, "");
      if (!`${fragment()}/`.startsWith(here)) location.reload();
      else this.select(Number(readFragment()[2] || 0), { centre: true });
    });
  }

  keys() {
    return {
      ",": () => this.goTo(this.step - 1),
      ".": () => this.goTo(this.step + 1),
      " ": () => this.play(),
      "/": () => byId("search").focus(),
      n: () => this.nextHit(1),
      N: () => this.nextHit(-1),
      a: () => this.select(this.problem.answer_node, { centre: true }),
      f: () => this.map.fit(),
      "+": () => this.map.zoom(1.3),
      "-": () => this.map.zoom(1 / 1.3),
      1: () => this.openTab("node"),
      2: () => this.openTab("calls"),
      3: () => this.openTab("lessons"),
      "?": () => byId("keys").showModal(),
    };
  }

  onKey(event, keys) {
    const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || inField || byId("keys").open) return;
    const onButton = event.target.closest("button, summary, a") && (event.key === " " || event.key === "Enter");
    const inPanel = event.target.closest(".panel") && /^(Arrow|Home)/.test(event.key);
    if (onButton || inPanel) return;
    if (/^Arrow|^Home$/.test(event.key)) {
      const id = this.neighbour(event.key);
      event.preventDefault();
      if (id !== null && id !== undefined) this.select(id);
    } else if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  }

  /** Saves all that the page shows as one JSON file. */
  async download(event) {
    event.preventDefault();
    const all = { ...this.problem, run: this.run, prompts: Object.fromEntries(await this.prompts) };
    const address = URL.createObjectURL(new Blob([JSON.stringify(all, null, 1)], { type: "application/json" }));
    element("a", { href: address, download: `${this.run.run}-${this.problem.problem}.json`.replace(/[^\w.-]+/g, "_") }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}

// ------------------------------------------------------------------ parts of the head

/** The pool's agents, then others that the records name. */
function agentNames(run, problem) {
  return [...new Set([...run.agents, ...problem.nodes.map((node) => node.agent), ...problem.calls.map((call) => call.agent)])].filter((name) => name !== null);
}

function identityParts(run, problem) {
  const parts = [["study", run.study], ["experiment", run.title === run.experiment ? run.title : `${run.title} (${run.experiment})`], ["task", run.task], ["problem", problem.problem], ["seed", run.seed], ["feedback", run.feedback], ["pool", run.pool], ["run", run.run], ["commit", shortCommit(run.commit)]];
  return parts.map(([name, value]) => element("span", {}, `${name} `, element("b", {}, String(value))));
}

function factsOf(problem) {
  const { nodes, calls } = problem;
  const cost = dollars(problem.cost);
  const parts = [problem.kind, plural(nodes.length - 1, "node"), plural(calls.length, "call"), `${whole(problem.prompt_tokens)} + ${whole(problem.completion_tokens)} tokens`, cost, `score ${decimal(problem.score)}`, `ended: ${problem.stop_reason} after ${plural(problem.iterations, "iteration")}`, problem.detail];
  return parts.filter((part) => part).join(" · ");
}

const KEYS = [["← → ↑ ↓", "parent, child, neighbours in the column"], ["Home", "start"], ["a", "the graded answer"], [", .", "one call back, one call on"], ["space", "play the search"], ["/", "search; prompt: before a text searches the prompts"], ["n N", "next, previous hit"], ["f + −", "whole tree, larger, smaller"], ["1 2 3", "node, calls, lessons"], ["drag, wheel", "move, zoom"]];

function showKeys() {
  const rows = KEYS.map(([key, text]) => element("div", {}, element("dt", {}, key), element("dd", {}, text)));
  byId("keys").replaceChildren(element("form", { method: "dialog" }, element("h2", {}, "Keys"), element("dl", {}, rows), element("button", {}, "Close")));
}

const readFragment = () => fragment().split("/").map((part) => decodeURIComponent(part));

async function start() {
  const [run, name, node] = readFragment();
  if (!run || !name) throw new Error("This address names no problem: open one from index.html.");
  const described = await load(run);
  const entry = described.problems.find((one) => one.problem === name);
  if (!entry) throw new Error(`Run ${run} has no problem ${name}.`);
  const page = new TreePage(described, JSON.parse(await unpack(run, entry.tree)), entry);
  page.show();
  page.listen();
  showKeys();
  page.select(Number(node || 0));
  page.map.begin();
  window.page = page; // for the console, and for tests
}

start().catch(showError);
