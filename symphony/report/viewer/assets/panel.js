// The details beside a tree: a node with everything that was asked about it, the ledger of calls, and the lessons.
"use strict";

const FOLDED = 500; // letters of a text that is shown at once; longer ones are whole, but folded

const CALL_ROW = 52; // pixels of a row in the ledger

/** A text as it is, folded if it is long. */
function textBlock(text, label) {
  const whole_ = element("pre", { class: "text", tabindex: "0", "aria-label": label }, text || "(empty)");
  if (text.length <= FOLDED && text.split("\n").length <= 14) return whole_;
  const beginning = text.slice(0, 110).replace(/\s+/g, " ");
  return element("details", { class: "fold" }, element("summary", {}, element("span", { class: "begin" }, `${beginning}…`), element("span", { class: "size" }, plural(text.length, "letter"))), whole_);
}

function section(heading, ...children) {
  const kept = children.flat().filter((child) => child);
  return kept.length ? element("section", {}, element("h2", {}, heading), kept) : null;
}

function agentChip(page, name) {
  const dot = element("i", { class: "dot", style: `background:${agentColour(page.agents.indexOf(name))}` });
  return element("span", { class: "chip" }, dot, name);
}

function nodeLink(page, id, text = `node ${id}`) {
  const pick = (event) => {
    event.preventDefault();
    page.select(id, { centre: true });
  };
  return element("a", { href: page.address(id), onclick: pick }, text);
}

const PHASES = { expand: "proposes", evaluate: "evaluates", reflect: "reflects", sim_expand: "proposes (simulation)", sim_evaluate: "evaluates (simulation)" };

const tokensOf = (call) => `${whole(call.prompt_tokens)} + ${whole(call.completion_tokens)} tokens`;

// ------------------------------------------------------------------ a node

function nodePanel(page) {
  const node = page.problem.nodes[page.selected];
  const calls = page.callsOf(node.node);
  const read = page.readAt.get(node.node) || [];
  const born = page.problem.lessons.filter((lesson) => lesson.node === node.node);
  return [
    element("div", { class: "head" }, element("h2", { class: "name" }, node.parent === null ? "Start" : `Node ${node.node}`), node.agent === null ? null : agentChip(page, node.agent), signs(page, node)),
    trail(page, node),
    figures(node),
    node.parent === null ? null : section("Action", element("pre", { class: "text action" }, node.action)),
    node.thought ? section("Thought", textBlock(node.thought, "Thought")) : null,
    node.observation ? section(node.parent === null ? "What the environment shows" : "Observation", textBlock(node.observation, "Observation")) : null,
    section("Lesson born here", born.map((lesson) => element("blockquote", {}, lesson.text))),
    section("Lessons read here", read.map((number) => lessonLine(page, page.problem.lessons[number]))),
    section("The call that proposed it", calls.made.map((call) => callBox(page, call))),
    section("Evaluations", calls.judged.map((call) => callBox(page, call))),
    section("Reflections", calls.reflected.map((call) => callBox(page, call))),
    section("Calls for what comes next", calls.asked.map((call) => callBox(page, call))),
  ];
}

function signs(page, node) {
  const end = verdict(node, page.map.grades);
  const words = [
    end ? [`${MARKS[end]} ${{ right: "right", wrong: "wrong", ungraded: "end, not graded" }[end]}`, end] : null,
    node.node === page.problem.answer_node ? ["◎ the answer", "plain"] : null,
    node.origin === "simulate" ? ["simulated", "plain"] : null,
    node.invalid ? ["invalid action", "wrong"] : null,
    node.fallback ? ["unreadable evaluation", "wrong"] : null,
    node.closed && !end ? ["closed", "plain"] : null,
  ];
  return words.filter((word) => word).map(([word, kind]) => element("span", { class: `badge ${kind}` }, word));
}

/** The way from the start to the node. */
function trail(page, node) {
  const ids = [];
  for (let id = node.parent; id !== null; id = page.problem.nodes[id].parent) ids.unshift(id);
  if (!ids.length) return null;
  const parts = ids.flatMap((id) => {
    const action = page.problem.nodes[id].action;
    return [nodeLink(page, id, id === 0 ? "start" : action.length > 26 ? `${action.slice(0, 25)}…` : action || `node ${id}`), element("span", { class: "arrow", "aria-hidden": "true" }, " › ")];
  });
  return element("p", { class: "trail" }, parts, `node ${node.node}`);
}

const FIGURES = [
  ["Z", "value that the evaluator wrote, 0 to 1", (node) => node.value],
  ["C", "confidence that it wrote, 0 to 1", (node) => node.confidence],
  ["R", "value that the search uses: the reward of an end, else the modulated score", (node) => node.prior],
  ["N", "visits", (node) => node.visits],
  ["Q", "mean of the values backed up", (node) => (node.visits ? node.value_sum / node.visits : null)],
  ["reward", "reward of the environment that the search saw", (node) => node.reward],
];

function figures(node) {
  const cells = FIGURES.map(([name, meaning, value]) => {
    const number = value(node);
    const text = name === "N" ? whole(number) : decimal(number, name === "reward" ? 2 : 3);
    return element("div", { title: meaning }, element("dt", {}, name), element("dd", {}, text));
  });
  const facts = `iteration ${node.iteration} · depth ${node.depth} · ${node.made ? `made by call ${node.made}` : "before any call"}`;
  return element("div", {}, element("dl", { class: "figures" }, cells), element("p", { class: "soft" }, facts));
}

// ------------------------------------------------------------------ a call

function callBox(page, call) {
  const cost = dollars(call.cost);
  const summary = element(
    "summary",
    {},
    element("span", { class: "number" }, `${call.call + 1}`),
    agentChip(page, call.agent),
    element("span", {}, PHASES[call.phase] || call.phase),
    element("span", { class: "soft" }, `${tokensOf(call)}${cost ? ` · ${cost}` : ""}`),
    call.error === null ? null : element("span", { class: "badge wrong" }, "failed"),
  );
  const body = element("div", { class: "inside" });
  const box = element("details", { class: call.call === page.step - 1 ? "call now" : "call", "data-call": call.call }, summary, body);
  const fill = () => {
    if (box.open && !body.childNodes.length) body.append(...callBody(page, call));
  };
  box.addEventListener("toggle", fill);
  if (call.call === page.step - 1 && page.stepping) {
    box.open = true;
    fill();
  }
  return box;
}

function callBody(page, call) {
  const cost = dollars(call.cost);
  const dropped = [call.dropped_lessons ? `${plural(call.dropped_lessons, "lesson")} left out` : "", call.dropped_shots ? `${plural(call.dropped_shots, "example")} left out` : ""];
  const facts = [`iteration ${call.iteration}`, `draw ${call.draw}`, `temperature ${call.temperature}`, `ended: ${call.finish_reason}`, cost, ...dropped];
  const prompt = element("div", { class: "prompt" }, element("p", { class: "soft" }, "Reading the prompt …"));
  page.prompts.then((prompts) => prompt.replaceChildren(...promptBlocks(page, prompts.get(call.prompt))));
  return [
    element("p", { class: "soft" }, facts.filter((fact) => fact).join(" · ")),
    pickTable(page, call),
    element("h3", {}, "Prompt"),
    prompt,
    element("h3", {}, call.error === null ? "Completion" : "Error"),
    textBlock(call.error === null ? call.text : call.error, "Completion"),
  ];
}

/** The messages of a prompt: the last one open, those before it folded. */
function promptBlocks(page, messages) {
  if (!messages) return [element("p", { class: "soft" }, page.withoutPrompts || "This prompt was not kept.")];
  return messages.map((message, index) => {
    const last = index === messages.length - 1;
    const size = plural(message.content.length, "letter");
    const begin = message.content.slice(0, 80).replace(/\s+/g, " ");
    return element("details", { class: "message", open: last }, element("summary", {}, element("b", {}, message.role), element("span", { class: "begin" }, begin), element("span", { class: "size" }, size)), element("pre", { class: "text", tabindex: "0", "aria-label": message.role }, message.content));
  });
}

/** Why this agent: what the scheduler saw (paper Eq. 1). */
function pickTable(page, call) {
  const pick = call.pick === null ? null : page.problem.picks[call.pick];
  if (!pick || pick.counts.length < 2) return null;
  const head = ["agent", "calls", "mean reward", "bonus"].map((text) => element("th", { scope: "col" }, text));
  const rows = pick.counts.map((count, arm) =>
    element("tr", { class: page.agents[arm] === pick.agent ? "picked" : "" }, element("td", {}, agentChip(page, page.agents[arm] ?? `agent ${arm}`)), [whole(count), decimal(pick.means[arm] ?? null, 3), decimal(pick.bonuses[arm] ?? null, 3)].map((text) => element("td", { class: "n" }, text))),
  );
  return element("details", { class: "pick" }, element("summary", {}, `Why ${pick.agent}? What the scheduler saw`), element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows)));
}

// ------------------------------------------------------------------ all calls, all lessons

function callRow(page, call) {
  const target = page.nodeOf(call);
  const pick = () => page.goTo(call.call + 1);
  const cost = dollars(call.cost);
  return element(
    "button",
    { type: "button", class: `row ${call.call === page.step - 1 ? "now" : ""} ${call.call >= page.step ? "later" : ""}`, onclick: pick },
    element("span", { class: "line" }, element("span", { class: "number" }, `${call.call + 1}`), agentChip(page, call.agent), element("span", {}, PHASES[call.phase] || call.phase), call.error === null ? null : element("span", { class: "badge wrong" }, "failed")),
    element("span", { class: "line soft" }, `iteration ${call.iteration} · node ${target} · ${tokensOf(call)}${cost ? ` · ${cost}` : ""}`),
  );
}

function lessonLine(page, lesson) {
  return element("div", { class: "lesson" }, element("blockquote", {}, lesson.text), element("p", { class: "soft" }, agentChip(page, lesson.agent), ` wrote it in iteration ${lesson.iteration} at `, nodeLink(page, lesson.node), "."));
}

function lessonsPanel(page) {
  const { lessons } = page.problem;
  if (!lessons.length) return [element("p", { class: "soft" }, "No lesson was learnt in this search.")];
  return lessons.map((lesson) => {
    const readers = [...page.readAt].filter(([, numbers]) => numbers.includes(lesson.reflection)).map(([id]) => id);
    const links = readers.slice(0, 60).flatMap((id, index) => [index ? ", " : "", nodeLink(page, id, String(id))]);
    const more = readers.length > 60 ? ` and ${readers.length - 60} more` : "";
    const where = !page.promptsKnown ? page.withoutPrompts || "Reading the prompts …" : readers.length ? ["Read in prompts at nodes ", links, more, "."] : "No later prompt holds it.";
    return element("div", {}, lessonLine(page, lesson), element("p", { class: "soft" }, where));
  });
}
