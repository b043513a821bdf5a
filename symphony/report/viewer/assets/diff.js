// The page of `symphony diff`: both searches side by side, the first divergence pointed out.
"use strict";

const NEAR = 4; // equal events that are shown before the divergence; those before them are folded
const LETTERS = ["A", "B"];
const NAMES = { pick: "picked", call: "call", node: "new node", score: "scores at the end", lesson: "lesson", end: "end" };
const SHOWN = {
  pick: ["counts", "means", "bonuses"],
  call: ["prompt", "text", "error", "finish_reason", "temperature", "prompt_tokens", "completion_tokens", "cost"],
  node: ["action", "thought", "observation", "reward"],
  score: ["value", "confidence", "prior", "visits", "value_sum"],
  lesson: ["text"],
  end: ["stop_reason", "success", "score", "answer_node", "detail"],
};

/** The record of an event. */
function recordOf(problem, [kind, index]) {
  return { pick: problem.picks, call: problem.calls, node: problem.nodes, score: problem.nodes, lesson: problem.lessons, end: [problem] }[kind][index];
}

/** The node of a tree at which an event is pointed out: the one that it made, if any, else the one that it is about. */
function nodeOfEvent(problem, event) {
  if (!event) return null;
  const record = recordOf(problem, event);
  if (event[0] === "end") return problem.answer_node;
  const call = { call: record, pick: problem.calls.find((one) => one.pick === record.pick) }[event[0]];
  return (call && problem.nodes.find((node) => node.made === call.call + 1)?.node) ?? record.node;
}

/** A field as text; a prompt as its messages, if they were kept. */
function fieldText(content, side, record, name) {
  const value = record[name];
  if (name === "prompt") {
    const messages = content.prompts[side][value];
    return messages ? messages.map((message) => `${message.role}: ${message.content}`).join("\n\n") : `digest ${value} (prompts were not kept)`;
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A text with the part that differs from the other marked; both without what they share at their ends. */
function markedText(text, other) {
  const most = Math.min(text.length, other.length);
  let begin = 0;
  while (begin < most && text[begin] === other[begin]) begin++;
  let end = 0;
  while (end < most - begin && text[text.length - 1 - end] === other[other.length - 1 - end]) end++;
  const middle = text.slice(begin, text.length - end);
  return element("pre", { class: "text", tabindex: "0" }, text.slice(0, begin), element("mark", {}, middle || "∅"), text.slice(text.length - end));
}

function heading(record, kind) {
  const where = kind === "call" || kind === "pick" ? `${record.phase} · node ${record.node} · iteration ${record.iteration}` : kind === "node" || kind === "score" ? `node ${record.node}` : "";
  return [NAMES[kind], record.agent && kind !== "end" ? element("b", {}, record.agent) : "", element("span", { class: "soft" }, where)];
}

/** One side of an event: its fields, those that differ marked. */
function eventCell(content, side, event, other) {
  if (!event) return element("div", { class: "event none" }, "This search has ended.");
  const problem = content.problems[side];
  const [kind] = event;
  const record = recordOf(problem, event);
  const blocks = [];
  if (other) {
    const differs = (name) => kind === other[0] && content.fields.includes(name);
    const names = [...new Set([...content.fields, ...SHOWN[kind]])].filter((name) => name in record && record[name] !== null && record[name] !== "");
    for (const name of names) {
      const text = fieldText(content, side, record, name);
      const block = differs(name) ? markedText(text, fieldText(content, 1 - side, recordOf(content.problems[1 - side], other), name)) : textOf(text);
      blocks.push(element("h2", { class: differs(name) ? "differs" : "" }, name.replace("_", " ")), block);
    }
  } else {
    const text = { call: record.text || record.error, node: record.action, lesson: record.text }[kind];
    if (text) blocks.push(element("p", { class: "brief" }, text));
  }
  return element("div", { class: "event" }, element("p", { class: "what" }, heading(record, kind)), blocks);
}

function textOf(text) {
  const block = element("pre", { class: "text", tabindex: "0" }, text);
  if (text.length < 400) return block;
  return element("details", { class: "fold" }, element("summary", {}, element("span", { class: "begin" }, text.slice(0, 90)), element("span", { class: "size" }, plural(text.length, "letter"))), block);
}

function eventRow(content, pair, divergent = false) {
  const cells = pair.map((event, side) => (event || divergent ? eventCell(content, side, event, divergent ? pair[1 - side] ?? ["nothing"] : null) : element("div")));
  return element("div", { class: divergent ? "pair divergent" : "pair", id: divergent ? "divergence" : null }, cells);
}

/** The rows before, at and after the divergence. A pick is shown only there, since a call says whom it asked. */
function rowsOf(content) {
  const at = content.position - content.begin;
  const isShown = ([kind]) => kind !== "pick";
  const before = content.events[0].slice(0, at).filter(isShown).map((event) => [event, event]);
  const after = content.events.map((events) => events.slice(at + 1).filter(isShown));
  const pairs = Array.from({ length: Math.max(...after.map((events) => events.length)) }, (_, index) => after.map((events) => events[index]));
  const rows = (some) => some.map((pair) => eventRow(content, pair));
  const early = before.slice(0, -NEAR);
  const folded = element("details", { class: "earlier" }, element("summary", {}, "What is equal before"));
  folded.addEventListener("toggle", () => folded.childNodes.length < 2 && folded.append(...rows(early)), { once: true });
  const more = content.more.map((count) => (count > 0 ? `${plural(count, "more event")}` : "the end"));
  return [
    early.length ? folded : "",
    rows(before.slice(-NEAR)),
    eventRow(content, content.events.map((events) => events[at]), true),
    element("p", { class: "soft" }, "What follows, in each search by itself:"),
    rows(pairs),
    element("div", { class: "pair ends" }, more.map((text) => element("p", { class: "soft" }, text))),
  ];
}

function identity(run, letter) {
  const parts = [["study", run.study], ["experiment", run.experiment], ["task", run.task], ["seed", run.seed], ["feedback", run.feedback], ["pool", run.pool], ["run", run.run], ["commit", shortCommit(run.commit)]];
  return element("p", { class: "identity" }, element("b", { class: "letter" }, letter), parts.map(([name, value]) => element("span", {}, `${name} `, element("b", {}, String(value)))));
}

function settingsTable(settings) {
  if (!settings.length) return element("p", { class: "soft" }, "The two configs have the same settings.");
  const head = element("tr", {}, ["setting that differs", "A", "B"].map((text) => element("th", { scope: "col" }, text)));
  const rows = settings.map((cells) => element("tr", {}, cells.map((text) => element("td", {}, text ?? "–"))));
  return element("details", { open: settings.length < 8 }, element("summary", {}, plural(settings.length, "setting that differs", "settings that differ")), element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, rows))));
}

/** Draws one search; its nodes before the divergence are faint, the divergent one is pointed out. */
function drawSide(content, side, canvas) {
  const problem = content.problems[side];
  const run = content.runs[side];
  const event = content.events[side][content.position - content.begin];
  const map = new TreeMap(canvas, problem, run.agents, () => {});
  map.marked = nodeOfEvent(problem, event);
  map.selected = map.marked ?? 0;
  map.begin();
  return map;
}

async function showDiff(packed) {
  const content = JSON.parse(await inflate(packed));
  const equal = !content.differing.length;
  const names = equal ? "" : content.differing[0].problems.join(" | ");
  document.title = equal ? "equal · symphony diff" : `${content.what} · symphony diff`;
  const main = byId("main");
  main.replaceChildren(
    element("h1", {}, equal ? `Equal: ${plural(content.compared, "problem")}, event by event` : `First divergence: ${content.what}`),
    equal ? "" : element("p", { class: "lead" }, `${names}: equal for ${plural(content.position, "event")}, then different ${content.where}. ${content.differing.length} of ${plural(content.compared, "problem")} ${content.compared === 1 ? "differs" : "differ"}.`),
    ...content.runs.map((run, side) => identity(run, LETTERS[side])),
    settingsTable(content.settings),
  );
  if (equal) return;
  const canvases = LETTERS.map((letter) => element("canvas", { role: "img", "aria-label": `Search ${letter}; the divergent node is marked` }));
  main.append(
    element("div", { class: "pair maps" }, canvases.map((canvas, side) => element("figure", {}, element("figcaption", {}, element("b", { class: "letter" }, LETTERS[side]), outcomeBadge(content.problems[side].success), ` ${plural(content.problems[side].nodes.length - 1, "node")}, ${plural(content.problems[side].calls.length, "call")}`, element("span", { class: "agents" }, content.runs[side].agents.map((name, index) => element("span", { class: "chip" }, element("i", { class: "dot", style: `background:${agentColour(index)}` }), name)))), canvas))),
    element("div", { class: "events" }, rowsOf(content)),
  );
  window.maps = canvases.map((canvas, side) => drawSide(content, side, canvas)); // for the console, and for tests
}
