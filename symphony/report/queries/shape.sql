-- title: What the tokens were spent on
-- mirrors: no counterpart (the evidence behind comparing trees with independent attempts)
-- caption: Means over problems. A search that sees success stops, so that a better method spends fewer tokens; "tokens if unsolved" are those of the problems that it did not solve. "At the limit": share of problems whose search ended because the tokens of the budget were spent. "Attempts": ends of an episode that were reached, each one a complete try. "First actions": different actions tried at the start, and how many of these were visited by the search. "Depth": actions to the deepest node. "Nothing new": share of the steps that repeat an action of their own path and bring the same again.
WITH RECURSIVE above AS (
    SELECT run, problem, node, parent AS ancestor, action, observation FROM nodes WHERE parent IS NOT NULL
    UNION ALL
    SELECT u.run, u.problem, u.node, n.parent, u.action, u.observation
    FROM above u JOIN nodes n ON n.run = u.run AND n.problem = u.problem AND n.node = u.ancestor
    WHERE n.parent IS NOT NULL
), again AS (
    -- an environment may add a notice to what it repeats
    SELECT DISTINCT u.run, u.problem, u.node
    FROM above u JOIN nodes n ON n.run = u.run AND n.problem = u.problem AND n.node = u.ancestor
    WHERE n.parent IS NOT NULL AND n.action = u.action AND starts_with(u.observation, n.observation)
), trees AS (
    SELECT n.run, n.problem, count(*) FILTER (parent = 0) AS roots,
           count(*) FILTER (parent = 0 AND visits > 0) AS visited, max(depth) AS depth,
           count(*) FILTER (parent IS NOT NULL) AS steps, count(a.node) AS repeats
    FROM nodes n LEFT JOIN again a ON a.run = n.run AND a.problem = n.problem AND a.node = n.node
    GROUP BY n.run, n.problem
)
SELECT any_value(title) AS method, block AS task, count(*) AS n, any_value(s.success.value) AS success,
       average(prompt_tokens + completion_tokens, cluster) AS tokens,
       avg(prompt_tokens + completion_tokens) FILTER (NOT c.success) AS "tokens if unsolved",
       avg((stop_reason = 'tokens')::INT) AS "at the limit", avg(guesses) AS attempts,
       avg(roots) AS "first actions", avg(visited) AS "of these visited", avg(depth) AS depth,
       sum(repeats) / sum(steps) AS "nothing new"
FROM cells c JOIN trees USING (run, problem) JOIN success_cells s USING (experiment, block)
GROUP BY experiment, block ORDER BY any_value(block_position), block, any_value(position)
