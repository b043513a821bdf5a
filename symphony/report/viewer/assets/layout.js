// Where the nodes of a tree stand, from left to right: a column for each depth, a row for each leaf, and a parent in the
// middle of its children. Units are columns and rows. No recursion, so that deep trees need no stack.
"use strict";

/** Returns {children, row, depth, rows, depths, byDepth} of nodes in the order of their ids (a parent comes first). */
function layOut(nodes) {
  const children = nodes.map(() => []);
  for (const node of nodes) if (node.parent !== null) children[node.parent].push(node.node);
  const row = new Float32Array(nodes.length);
  const depth = new Uint16Array(nodes.length);
  let rows = 0;
  const open = nodes.length ? [0] : [];
  while (open.length) {
    const id = open.pop();
    if (!children[id].length) row[id] = rows++;
    else for (let index = children[id].length - 1; index >= 0; index--) open.push(children[id][index]);
  }
  let depths = 0;
  for (const node of nodes) {
    depth[node.node] = node.parent === null ? 0 : depth[node.parent] + 1;
    depths = Math.max(depths, depth[node.node]);
  }
  for (let id = nodes.length - 1; id >= 0; id--) {
    const below = children[id];
    if (below.length) row[id] = (row[below[0]] + row[below[below.length - 1]]) / 2;
  }
  const byDepth = Array.from({ length: depths + 1 }, () => []);
  for (const node of nodes) byDepth[depth[node.node]].push(node.node);
  for (const column of byDepth) column.sort((one, other) => row[one] - row[other]);
  return { children, row, depth, rows: Math.max(1, rows), depths, byDepth };
}

/**
 * What an end is known to be: "right", "wrong" or "ungraded"; null if the search did not end there.
 * Right and wrong are what the environment showed, or the grade of an answer of the search.
 */
function verdict(node, grades) {
  if (node.solved) return "right";
  if (grades.has(node.node) && (node.terminal || grades.get(node.node))) return grades.get(node.node) ? "right" : "wrong";
  if (!node.terminal) return null;
  return node.reward === null ? "ungraded" : "wrong";
}

/** Grades of the nodes that were an answer under some budget: node -> whether it was right. */
function gradesOf(problem) {
  return new Map([...problem.answers.map((answer) => [answer.node, answer.success]), [problem.answer_node, problem.success]]);
}
