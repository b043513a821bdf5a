// The list of all problems of a study, filtered by #experiment=...&task=...&outcome=...&text=...
"use strict";

const FILTERS = ["experiment", "task", "outcome", "text"];
const COLUMNS = [
  ["experiment", (row) => row.run.title],
  ["task", (row) => row.run.task],
  ["problem", (row) => shortId(row.problem, row.run.task)],
  ["seed", (row) => row.run.seed],
  ["outcome", (row) => (row.success ? 1 : 0)],
  ["score", (row) => row.score],
  ["nodes", (row) => row.nodes],
  ["calls", (row) => row.calls],
  ["tokens", (row) => row.tokens],
  ["ended", (row) => row.stop_reason],
];
const NUMBERS = ["seed", "score", "nodes", "calls", "tokens"];

function fill(select, options, everything) {
  select.replaceChildren(element("option", { value: "" }, everything), ...options.map(([value, text]) => element("option", { value }, text)));
}

class Index {
  constructor(study) {
    const runs = new Map(study.runs.map((run) => [run.run, run]));
    this.rows = study.problems.map((problem) => ({ ...problem, run: runs.get(problem.run) })).filter((row) => row.run);
    this.study = study;
    this.sorted = null; // [column, way]
    const titles = new Map(study.runs.map((run) => [run.experiment, run.title]));
    fill(byId("experiment"), [...titles], `all ${titles.size}`);
    const tasks = [...new Set(study.runs.map((run) => run.task))].sort();
    fill(byId("task"), tasks.map((task) => [task, task]), `all ${tasks.length}`);
    fill(byId("outcome"), [["solved", "★ solved"], ["failed", "▲ not solved"]], "all");
    document.title = `${study.study}: search trees`;
    byId("title").textContent = `Search trees of ${study.study}`;
    byId("identity").replaceChildren(...[["study", study.study], ["runs", whole(study.runs.length)], ["problems", whole(this.rows.length)], ["feedback", study.feedback], ["commit", study.commit.split(", ").map(shortCommit).join(", ")]].map(([name, value]) => element("span", {}, `${name} `, element("b", {}, value))));
    byId("note").textContent = "A row is one problem of one run; it opens the tree of its search. Every tree has an address of its own, and so has each node.";
    this.head = element("div", { class: "row head" });
    const body = element("div", { class: "scroll", tabindex: "0", "aria-label": "Problems" });
    byId("list").replaceChildren(this.head, body);
    this.narrow = matchMedia("(max-width: 700px)");
    this.list = longList(body, 34);
    this.body = body;
    this.narrow.addEventListener("change", () => this.lay());
    for (const name of FILTERS) byId(name).addEventListener("input", () => this.changed());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", () => this.read());
    this.lay();
    this.read();
  }

  lay() {
    this.list = longList(this.body, this.narrow.matches ? 58 : 34);
    if (this.shown) this.draw();
  }

  /** Takes the filters from the address. */
  read() {
    const wanted = new URLSearchParams(fragment());
    for (const name of FILTERS) byId(name).value = wanted.get(name) || "";
    this.draw();
  }

  changed() {
    rewriteFragment(new URLSearchParams(FILTERS.map((name) => [name, byId(name).value]).filter(([, value]) => value)));
    this.draw();
  }

  draw() {
    const [experiment, task, outcome, text] = FILTERS.map((name) => byId(name).value);
    const part = text.trim().toLowerCase();
    this.shown = this.rows.filter(
      (row) => (!experiment || row.run.experiment === experiment) && (!task || row.run.task === task) && (!outcome || row.success === (outcome === "solved")) && (!part || `${row.problem} ${row.run.run} ${row.kind}`.toLowerCase().includes(part)),
    );
    if (this.sorted) {
      const [column, way] = this.sorted;
      const value = COLUMNS.find(([name]) => name === column)[1];
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const keyed = this.shown.map((row) => [value(row), row]);
      keyed.sort(([one], [other]) => way * (typeof one === "number" ? one - other : compare(one, other)));
      this.shown = keyed.map(([, row]) => row);
    }
    const solved = this.shown.filter((row) => row.success).length;
    byId("count").textContent = this.shown.length ? `${plural(this.shown.length, "problem")}, ${whole(solved)} solved` : "no problem";
    this.drawHead();
    this.body.scrollTop = 0;
    this.list.show(this.shown.length, (index) => this.row(this.shown[index]));
  }

  drawHead() {
    this.head.replaceChildren(
      ...COLUMNS.map(([name]) => {
        const way = this.sorted && this.sorted[0] === name ? this.sorted[1] : 0;
        const sort = () => {
          this.sorted = way === 1 ? [name, -1] : [name, 1];
          this.draw();
        };
        return element("button", { type: "button", class: `${name} ${NUMBERS.includes(name) ? "n" : ""}`, onclick: sort, "aria-pressed": String(way !== 0) }, `${name}${{ 1: " ↑", [-1]: " ↓", 0: "" }[way]}`);
      }),
    );
  }

  row(row) {
    const { run } = row;
    const cell = (name, text) => element("span", { class: `${name} ${NUMBERS.includes(name) ? "n" : ""}` }, text);
    return element(
      "a",
      { class: "row", href: treeAddress(run.run, row.problem) },
      cell("experiment", run.title),
      cell("task", run.task),
      cell("problem", shortId(row.problem, run.task)),
      cell("seed", String(run.seed)),
      element("span", { class: "outcome" }, outcomeBadge(row.success)),
      cell("score", decimal(row.score)),
      cell("nodes", whole(row.nodes)),
      cell("calls", whole(row.calls)),
      cell("tokens", whole(row.tokens)),
      cell("ended", row.stop_reason),
    );
  }
}

load("index")
  .then(inflate)
  .then((text) => {
    window.index = new Index(JSON.parse(text));
  })
  .catch(showError);
