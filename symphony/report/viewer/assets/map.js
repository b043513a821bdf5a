// Draws a tree on a canvas. Only what is visible is drawn, so 5,000 nodes are as quick as fifty. Columns and rows are
// scaled apart: seen from afar a tree is a shape of dots, from near by each edge bears its action and numbers.
"use strict";

const COLUMN = 216; // pixels at scale 1
const ROW = 44;
const TEXT_ROW = 22; // rows at least this high have actions
const NUMBER_ROW = 37; // rows at least this high have numbers, too
const LARGEST = { x: 1.8, y: 1.3 }; // scales
const READABLE = 0.9; // scale of the first view of a tree that is too large to be read as a whole

class TreeMap {
  /**
   * canvas: where to draw. problem: as in problem.sql. agents: names in the order of the colours.
   * onPick: called with the id of a node that was clicked.
   */
  constructor(canvas, problem, agents, onPick) {
    Object.assign(this, { canvas, problem, nodes: problem.nodes, onPick });
    this.colourOf = new Map(agents.map((name, index) => [name, index % AGENT_COLOURS]));
    this.layout = layOut(this.nodes);
    this.grades = gradesOf(problem);
    this.calls = Math.max(1, problem.calls.length);
    this.step = problem.calls.length; // nodes made by later calls are faint
    this.selected = 0;
    this.hits = new Set();
    this.born = new Set(problem.lessons.map((lesson) => lesson.node));
    this.read = new Set(); // nodes with a call whose prompt held a lesson
    this.marked = null; // a node that is pointed out (the first divergence of a diff)
    this.faint = null; // ids below this are faint (what two searches have in common)
    this.at = { x: 0, y: 0, sx: 1, sy: 1 };
    this.readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.readColours());
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
    this.resize();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = {
      agents: Array.from({ length: AGENT_COLOURS }, (_, index) => colour(`agent-${index}`)),
      ...Object.fromEntries(["ink", "soft", "paper", "accent", "hit", "line", "lesson", "right", "wrong"].map((name) => [name, colour(name)])),
    };
    this.shades = [colour("early"), colour("late")].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const isWhole = !this.width || (this.fitted && ["x", "y", "sx", "sy"].every((part) => this.at[part] === this.fitted[part]));
    if (!isWhole) this.at.y += (clientHeight - this.height) / 2; // what is in the middle stays there
    this.width = clientWidth;
    this.height = clientHeight;
    const dots = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * dots);
    this.canvas.height = Math.round(clientHeight * dots);
    this.dots = dots;
    if (isWhole && clientWidth) this.fit();
    this.draw();
  }

  // ------------------------------------------------------------------ the view

  x(id) {
    return this.at.x + (this.layout.depth[id] * COLUMN + 26) * this.at.sx;
  }

  y(id) {
    return this.at.y + (this.layout.row[id] + 0.6) * ROW * this.at.sy;
  }

  /**
   * The first view: the whole tree if it can be read, else the selected node at a readable size. Of a tree that is much
   * larger than the screen, the start alone would say little: then the whole tree, as a shape.
   */
  begin() {
    const isShape = this.at.sy * ROW < 5 && this.selected === 0;
    if ((this.at.sy * ROW < TEXT_ROW || this.at.sx < 0.6) && !isShape) {
      const high = (this.layout.rows + 0.4) * ROW;
      this.at = { sx: READABLE, sy: READABLE, x: 8, y: Math.max(0, (this.height - high * READABLE) / 2) };
      this.reveal(this.selected, high * READABLE > this.height);
    }
  }

  /** Shows the whole tree. */
  fit() {
    const wide = this.layout.depths * COLUMN + 60;
    const high = (this.layout.rows + 0.4) * ROW;
    const sx = Math.min(LARGEST.x, (this.width - 8) / wide); // wide columns have room for texts
    const sy = Math.min(1, this.height / high);
    this.at = { sx, sy, x: Math.max(0, (this.width - wide * sx) / 2), y: Math.max(0, (this.height - high * sy) / 2) };
    this.fitted = { ...this.at };
    this.draw();
  }

  /** Enlarges around a point of the canvas; without one, around the selected node if it can be seen. */
  zoom(factor, x, y) {
    if (x === undefined) {
      [x, y] = [this.x(this.selected), this.y(this.selected)];
      if (x < 0 || y < 0 || x > this.width || y > this.height) [x, y] = [this.width / 2, this.height / 2];
    }
    const sx = Math.min(LARGEST.x, Math.max(0.05, this.at.sx * factor));
    const sy = Math.min(LARGEST.y, Math.max(0.002, this.at.sy * factor));
    this.at = {
      sx,
      sy,
      x: x - ((x - this.at.x) * sx) / this.at.sx,
      y: y - ((y - this.at.y) * sy) / this.at.sy,
    };
    this.draw();
  }

  /** Moves the view, if need be, so that a node can be seen with the edge that leads to it. */
  reveal(id, centre = false) {
    const x = this.x(id);
    const begin = this.layout.depth[id] ? x - COLUMN * this.at.sx : x - 8; // of the edge
    const y = this.y(id);
    if (centre || y < 30 || y > this.height - 30) this.at.y += this.height / 2 - y;
    if (x > this.width - 12) this.at.x += this.width - 40 - x;
    else if (begin < -4) this.at.x += Math.min(12 - begin, this.width - 40 - x);
    this.draw();
  }

  // ------------------------------------------------------------------ pointers

  listen() {
    const canvas = this.canvas;
    const pointers = new Map();
    let moved = 0;
    let spread = 0;
    const place = (event) => ({ x: event.offsetX, y: event.offsetY });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      if (pointers.size === 1) moved = 0;
      spread = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = place(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        canvas.style.cursor = this.nodeAt(here.x, here.y) === null ? "grab" : "pointer";
        return;
      }
      pointers.set(event.pointerId, here);
      moved += Math.abs(here.x - before.x) + Math.abs(here.y - before.y);
      if (pointers.size === 2) {
        const [one, other] = [...pointers.values()];
        const now = Math.hypot(one.x - other.x, one.y - other.y);
        if (spread) this.zoom(now / spread, (one.x + other.x) / 2, (one.y + other.y) / 2);
        spread = now;
      } else if (moved > 4) {
        this.at.x += here.x - before.x;
        this.at.y += here.y - before.y;
        this.draw();
      }
    });
    const lift = (event) => {
      const here = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (!here || moved > 4 || event.type === "pointercancel") return;
      const id = this.nodeAt(here.x, here.y);
      if (id !== null) this.onPick(id);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.ctrlKey || event.metaKey || !event.shiftKey) this.zoom(Math.exp(-event.deltaY / 500), event.offsetX, event.offsetY);
        else {
          this.at.y -= event.deltaY;
          this.draw();
        }
      },
      { passive: false },
    );
  }

  /** The node at a point: its dot, or the text on the edge that leads to it; null if there is none. */
  nodeAt(x, y) {
    let best = null;
    let nearest = 16;
    const texts = ROW * this.at.sy >= TEXT_ROW;
    for (const node of this.nodes) {
      const dx = x - this.x(node.node);
      const dy = y - this.y(node.node);
      let distance = Math.hypot(dx, dy);
      if (texts && node.parent !== null && dx < 0 && dx > -0.75 * COLUMN * this.at.sx && Math.abs(dy) < 16) distance = Math.min(distance, 8 + Math.abs(dy) / 4);
      if (distance < nearest) [best, nearest] = [node.node, distance];
    }
    return best;
  }

  // ------------------------------------------------------------------ drawing

  /** Draws soon; several changes are drawn once. */
  draw() {
    if (this.waiting || !this.width) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  /** The shade of an edge: light for the first calls, dark for the last. */
  shade(made) {
    const [early, late] = this.shades;
    const share = Math.min(1, made / this.calls);
    return `rgb(${early.map((part, index) => Math.round(part + (late[index] - part) * share)).join(" ")})`;
  }

  paint() {
    const pen = this.canvas.getContext("2d");
    pen.setTransform(this.dots, 0, 0, this.dots, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    this.texts = ROW * this.at.sy >= TEXT_ROW && this.at.sx > 0.45;
    const path = new Set();
    for (let id = this.selected; id !== null && id !== undefined; id = this.nodes[id].parent) path.add(id);
    const visible = this.thinned(this.nodes.filter((node) => this.isVisible(node)), path);
    for (const node of visible) if (node.parent !== null) this.paintEdge(pen, node, path.has(node.node));
    for (const node of visible) {
      const y = this.y(node.node);
      if (y > -20 && y < this.height + 20) this.paintNode(pen, node);
    }
    pen.globalAlpha = 1;
    if (!performance.getEntriesByName("painted").length) performance.mark("painted"); // tests read it
  }

  /** Of nodes that would be drawn upon each other, the first; those that are pointed out, and right ends, stay. */
  thinned(nodes, path) {
    if (ROW * this.at.sy > 0.5) return nodes;
    const drawn = new Set();
    return nodes.filter(({ node, solved }) => {
      const place = this.layout.depth[node] * 65536 + Math.round(this.y(node));
      const isFirst = !drawn.has(place);
      drawn.add(place);
      return isFirst || solved || path.has(node) || this.hits.has(node) || node === this.marked || node === this.problem.answer_node;
    });
  }

  isVisible(node) {
    const top = node.parent === null ? this.y(node.node) : Math.min(this.y(node.node), this.y(node.parent));
    const bottom = node.parent === null ? top : Math.max(this.y(node.node), this.y(node.parent));
    const right = this.x(node.node);
    return bottom > -30 && top < this.height + 30 && right > -30 && right - COLUMN * this.at.sx < this.width + 30;
  }

  alpha(node) {
    if (node.made > this.step) return 0.13;
    return this.faint !== null && node.node < this.faint ? 0.45 : 1;
  }

  paintEdge(pen, node, onPath) {
    const [x, y] = [this.x(node.node), this.y(node.node)];
    const [fromX, fromY] = [this.x(node.parent), this.y(node.parent)];
    const bend = fromX + Math.min(0.24 * (x - fromX), 50);
    pen.globalAlpha = onPath ? 1 : this.alpha(node) * Math.min(1, 0.12 + this.spacing(node) / 8); // many edges are no block
    pen.strokeStyle = onPath ? this.colours.accent : this.shade(node.made);
    pen.lineWidth = onPath ? 2.4 : this.texts ? 1.5 : 1;
    pen.setLineDash(node.origin === "simulate" ? [4, 4] : []);
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.bezierCurveTo(bend, fromY, fromX + 0.06 * (x - fromX), y, bend, y);
    pen.lineTo(x, y);
    pen.stroke();
    pen.setLineDash([]);
    if (this.texts && y > -20 && y < this.height + 20) this.paintTexts(pen, node, bend + 6, y, x - bend - 24);
  }

  paintTexts(pen, node, x, y, room) {
    const letters = Math.floor(room / 7.3);
    if (letters < 5) return;
    const action = node.action.replace(/^```.*\n/, "").trimStart().replace(/\s+/g, " "); // of a program its first line
    pen.textBaseline = "alphabetic";
    pen.font = '12px ui-monospace, "DejaVu Sans Mono", monospace';
    pen.fillStyle = this.colours.ink;
    pen.fillText(action.length > letters ? `${action.slice(0, letters - 1)}…` : action, x, y - 5);
    pen.font = '10.5px system-ui, "DejaVu Sans", sans-serif';
    pen.fillStyle = this.colours.soft;
    if (ROW * this.at.sy >= NUMBER_ROW) pen.fillText(this.numbers(node, room), x, y + 13);
  }

  numbers(node, room) {
    const parts = [];
    if (node.visits) parts.push(`N ${node.visits}`, `Q ${decimal(node.value_sum / node.visits)}`);
    if (node.value !== null) parts.push(`Z ${decimal(node.value)}`, `C ${decimal(node.confidence)}`);
    if (node.reward !== null && !node.visits) parts.push(`reward ${decimal(node.reward)}`);
    while (parts.length > 1 && parts.join(" · ").length * 5.4 > room) parts.pop();
    return parts.join(" · ");
  }

  /** Pixels from a node to the next one of its column, on average. */
  spacing(node) {
    const { depth, byDepth, rows } = this.layout;
    return (rows / byDepth[depth[node.node]].length) * ROW * this.at.sy;
  }

  radius(node) {
    const near = 5.5 + Math.min(5, 1.3 * Math.sqrt(node.visits));
    return ROW * this.at.sy >= NUMBER_ROW ? near : this.texts ? Math.min(near, 7) : Math.max(1.2, Math.min(near, 0.45 * this.spacing(node), 6));
  }

  paintNode(pen, node) {
    const [x, y, size] = [this.x(node.node), this.y(node.node), this.radius(node)];
    const end = verdict(node, this.grades);
    const colour = node.agent === null ? this.colours.soft : this.colours.agents[this.colourOf.get(node.agent) ?? 0];
    pen.globalAlpha = Math.min(1, this.alpha(node));
    if (node.node === this.selected || this.hits.has(node.node) || node.node === this.marked) {
      pen.fillStyle = node.node === this.marked ? this.colours.wrong : this.hits.has(node.node) && node.node !== this.selected ? this.colours.hit : this.colours.accent;
      pen.globalAlpha *= this.hits.has(node.node) && node.node !== this.selected ? 0.9 : 0.35;
      pen.beginPath();
      pen.arc(x, y, size + 6, 0, 2 * Math.PI);
      pen.fill();
      pen.globalAlpha = this.alpha(node);
    }
    // An open end of the tree is filled; a simulated node, which selection never meets, is a ring.
    shape(pen, end, x, y, end ? size + 2.5 : size);
    pen.fillStyle = node.origin === "simulate" && !end && size > 3 ? this.colours.paper : colour;
    pen.fill();
    if (size > 3) {
      pen.strokeStyle = node.origin === "simulate" ? colour : this.colours.paper;
      pen.lineWidth = node.origin === "simulate" ? 2 : 1;
      pen.stroke();
    }
    if (node.node === this.problem.answer_node && size > 3) {
      pen.strokeStyle = this.colours.ink;
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.arc(x, y, size + (end ? 6 : 3.5), 0, 2 * Math.PI);
      pen.stroke();
    }
    const ring = node.node === this.problem.answer_node ? 3 : 0;
    if (this.texts) this.paintSigns(pen, node, x, y, size + (end ? 3 : 0) + ring);
  }

  /** The node's number, and the signs of lessons: a filled one was born here, a ring was read here. */
  paintSigns(pen, node, x, y, size) {
    pen.font = '9.5px system-ui, "DejaVu Sans", sans-serif';
    pen.fillStyle = this.colours.soft;
    pen.textAlign = "center";
    if (ROW * this.at.sy >= NUMBER_ROW) pen.fillText(String(node.node), x, y + size + 12);
    pen.textAlign = "start";
    const sign = (present, dx, dy, filled) => {
      if (!present) return;
      pen.beginPath();
      pen.rect(x + dx, y + dy, 6, 6);
      pen.fillStyle = filled ? this.colours.lesson : this.colours.paper;
      pen.strokeStyle = this.colours.lesson;
      pen.lineWidth = 1.4;
      pen.fill();
      pen.stroke();
    };
    const isEnd = !this.layout.children[node.node].length; // nothing stands to its right
    sign(this.born.has(node.node), isEnd ? size + 4 : 1, isEnd ? -3 : -size - 9, true);
    sign(this.read.has(node.node), -9, -size - 9, false);
  }
}

/** Traces the shape of a node: a star for a right end, a triangle for a wrong one, a diamond for one that nobody graded. */
function shape(pen, end, x, y, size) {
  pen.beginPath();
  if (end === null) return pen.arc(x, y, size, 0, 2 * Math.PI);
  const corners = { right: 10, wrong: 3, ungraded: 4 }[end];
  for (let corner = 0; corner < corners; corner++) {
    const angle = (2 * Math.PI * corner) / corners - Math.PI / 2;
    const reach = end === "right" ? (corner % 2 ? 0.5 : 1.25) * size : 1.15 * size;
    pen.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  pen.closePath();
}
