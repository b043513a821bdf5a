-- title: What if another scheduler had picked?
-- mirrors: no counterpart (the paper compares its scheduler only by running it)
-- optional: why not
-- caption: The picks of tree searches that were recorded with uniform scheduling, replayed under other schedulers without asking a model. A recorded pick counts if the other scheduler, by its own statistics of the problem, picks the same agent (Li et al. 2011; exact, because every agent had the same chance). "Mean reward" is what its nodes would have earned in the recorded situations (R, as the evaluators gave it), and "led to success" the share of them that were solved, were graded as a success, or lie on the way to one. "Reward difference" is the mean reward minus that of the recorded picks. Intervals are of 95 %, by the spread between problems. "Rewarded picks" counts the picks that count and have a reward, the effective sample; "support" is their share of all recorded ones. With K agents a replay has 1/K of the picks of a run, so a scheduler learns less in it than in a run of its own, and the trees stay those of the recorded run: the table compares picks in these situations and does not predict success. "No support": the records give the other agents no chance that is known, so nothing can be said. docs/statistics.md has the assumptions.
WITH logged AS (
    SELECT d.experiment, d.title, d.position, len(d.agents) AS size,
           CASE WHEN d.scheduler <> 'uniform' THEN 'recorded with ' || d.scheduler
                WHEN d.search NOT IN ('symphony', 'symphony_halving', 'lats', 'rap', 'tot_bfs', 'tot_dfs')
                THEN d.search || ' does not reward every pick, or does not leave it to the scheduler'
                WHEN c.failed > 0 THEN 'calls failed, and agents that fail are not picked' END AS why
    FROM designs d
    JOIN (SELECT experiment, count(error) AS failed FROM outcomes JOIN calls USING (run, problem) GROUP BY experiment) c
         USING (experiment)
    WHERE len(d.agents) > 1
),
-- A pick has the number of its call. Calls of one phase of an iteration are picked before any of them is answered, so what
-- an answer earns is known from the call `next` on.
asked AS (
    SELECT *, max(call) OVER (PARTITION BY run, problem, phase, iteration, island) + 1 AS next
    FROM (SELECT l.experiment, l.size, o.index, o.agents, o.cluster, c.*, n.depth,
                 call - row_number() OVER (PARTITION BY c.run, c.problem, c.phase, c.iteration ORDER BY call) AS island
          FROM logged l JOIN outcomes o USING (experiment) JOIN calls c USING (run, problem)
          JOIN nodes n ON n.run = c.run AND n.problem = c.problem AND n.node = c.node WHERE l.why IS NULL)
),
judged AS (
    SELECT e.run, e.problem, e.node, max(a.next) AS due
    FROM evaluations e JOIN asked a ON a.run = e.run AND a.problem = e.problem AND a.call = e.call GROUP BY ALL
),
-- The call that brought a node: the first of its agent there that contains the action.
made AS (
    SELECT n.run, n.problem, n.node, arg_min(a.call, (NOT contains(a.text, n.action), a.call)) AS call,
           arg_min(a.next, (NOT contains(a.text, n.action), a.call)) AS next
    FROM nodes n JOIN asked a ON a.run = n.run AND a.problem = n.problem AND a.node = n.parent AND a.iteration = n.iteration
         AND a.agent = n.agent AND a.phase = CASE n.origin WHEN 'expand' THEN 'expand' ELSE 'sim_expand' END
    WHERE n.prior IS NOT NULL GROUP BY n.run, n.problem, n.node
),
earned AS (
    SELECT m.run, m.problem, m.call, arg_min(n.prior, m.node) AS reward, arg_min(coalesce(j.due, m.next), m.node) AS due,
           arg_min(coalesce(r.good, false), m.node) AS good
    FROM made m JOIN nodes n USING (run, problem, node) LEFT JOIN judged j USING (run, problem, node)
    LEFT JOIN reached r USING (run, problem, node) GROUP BY m.run, m.problem, m.call
),
recorded AS (
    SELECT a.experiment, a.run, any_value(size) AS size, any_value(agents) AS agents,
           list({'problem': a.problem, 'pick': a.call, 'phase': phase, 'depth': depth, 'arm': list_position(agents, agent) - 1,
                 'tokens': prompt_tokens + completion_tokens, 'reward': reward, 'due': coalesce(due, 0)}
                ORDER BY a.index, a.call) AS picks,
           list({'cluster': cluster, 'reward': reward, 'good': good} ORDER BY a.index, a.call) AS outcomes
    FROM asked a LEFT JOIN earned e USING (run, problem, call) GROUP BY a.experiment, a.run
),
replays AS (
    SELECT experiment, 0 AS rank, 'uniform, as recorded' AS scheduler, outcomes, [true FOR outcome IN outcomes] AS same
    FROM recorded
    UNION ALL
    SELECT experiment, rank, CASE WHEN starts_with(scheduler, 'fixed ') THEN 'only ' || agents[scheduler[7:]::INT + 1] ELSE scheduler END,
           outcomes, replayed(scheduler, size, picks)
    FROM (SELECT *, unnest(replayable(size)) AS scheduler, generate_subscripts(replayable(size), 1) AS rank FROM recorded)
),
told AS (
    SELECT experiment, rank, scheduler, same, outcome.*
    FROM (SELECT experiment, rank, scheduler, unnest(outcomes) AS outcome, unnest(same) AS same FROM replays)
    WHERE outcome.reward IS NOT NULL
),
estimated AS (
    SELECT experiment, rank, scheduler, count(*) FILTER (same) AS used, avg(same::INT) AS support,
           count(DISTINCT cluster) FILTER (same) AS problems, rate(CASE WHEN same THEN reward END, cluster) AS reward,
           deviation(CASE WHEN same THEN reward END, cluster) AS deviation, contrast(reward, cluster, same) AS gain,
           rate(CASE WHEN same THEN good END, cluster) AS good
    FROM told GROUP BY experiment, rank, scheduler
)
SELECT l.title AS method, CASE WHEN e.used > 0 THEN e.scheduler ELSE 'no support' END AS scheduler, used AS "rewarded picks",
       support, problems, reward AS "mean reward", deviation AS "standard error", CASE WHEN rank > 0 THEN gain END AS "reward difference",
       good AS "led to success", why AS "why not"
FROM logged l LEFT JOIN estimated e USING (experiment) ORDER BY l.position, rank
