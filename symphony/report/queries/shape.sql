-- title: What the tokens were spent on
-- mirrors: no counterpart (the evidence behind comparing trees with independent attempts)
-- caption: Means over problems. A search stops when it sees success, so a better method spends fewer tokens; "tokens if unsolved" covers only the problems that it did not solve. "At the limit" is the share of problems whose search ended because the token budget was spent. "Attempts" counts the ends of an episode that were reached, each a complete try. "First actions" counts the different actions tried at the start, and "of these visited" how many of them the search visited. "Depth" is the number of actions to the deepest node. "Nothing new" is the share of steps that repeat an action of their own path and bring the same result again.
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
