-- title: Failure signatures
-- mirrors: no counterpart (the paper's section on limits names them)
-- caption: Signs of three failures, per method. Over-reliance: "effective agents" is the exponential of the entropy of the agents' shares of a problem's calls (as many as the pool has if all are asked equally often; problems with fewer calls than agents are left out); the sign is an interval wholly below half of the pool. Stale memory: "repeated failures" is the share of failed ends that repeat the actions of an earlier failed end of the same problem; the sign, for methods with a memory, is an interval wholly above one quarter. Overconfidence: "confidence gap" is the mean confidence of the evaluations minus the share of them whose value was on the right side of 0.5, judged by whether the node led to success; the sign is an interval wholly above 0.1. Intervals are of 95 %, by the spread between problems.
WITH RECURSIVE asked AS (
    SELECT o.experiment, o.cluster, o.run, o.problem, len(o.agents) AS agents, c.agent, count(*) AS calls
    FROM outcomes o JOIN calls c USING (run, problem) WHERE len(o.agents) > 1 GROUP BY ALL
),
shares AS (
    SELECT *, calls / sum(calls) OVER (PARTITION BY run, problem) AS share FROM asked
),
spread AS (
    SELECT experiment, cluster, run, problem, any_value(agents) AS agents, exp(-sum(share * ln(share))) AS effective
    FROM shares GROUP BY ALL HAVING sum(calls) >= any_value(agents)
),
reliance AS (
    SELECT experiment, any_value(agents) AS agents, average(effective, cluster) AS effective FROM spread GROUP BY ALL
),
paths AS (
    SELECT run, problem, node, 0::UBIGINT AS path, terminal AND NOT solved AS failed FROM nodes WHERE parent IS NULL
    UNION ALL
    SELECT n.run, n.problem, n.node, hash(p.path, n.action), n.terminal AND NOT n.solved
    FROM paths p JOIN nodes n ON n.run = p.run AND n.problem = p.problem AND n.parent = p.node
),
ends AS (
    SELECT o.experiment, o.cluster, o.memory,
           row_number() OVER (PARTITION BY run, problem, path ORDER BY node) > 1 AS repeated
    FROM paths JOIN outcomes o USING (run, problem) WHERE failed
),
memory AS (
    SELECT experiment, any_value(memory) <> 'none' AS kept, count(*) AS failures, rate(repeated, cluster) AS repeated
    FROM ends GROUP BY ALL
),
judged AS (
    SELECT experiment, cluster, c - ((z > 0.5) = good)::INT AS gap
    FROM judgements WHERE NOT fallback AND z <> 0.5 AND agent <> 'random scores'
),
confidence AS (
    SELECT experiment, average(gap, cluster) AS gap FROM judged GROUP BY ALL
)
SELECT d.title AS method, r.agents, r.effective AS "effective agents", m.failures AS "failed ends", m.repeated AS "repeated failures",
       c.gap AS "confidence gap",
       coalesce(nullif(concat_ws(', ',
           CASE WHEN r.effective.high < r.agents / 2 THEN 'over-reliance' END,
           CASE WHEN m.kept AND m.repeated.low > 0.25 THEN 'stale memory' END,
           CASE WHEN c.gap.low > 0.1 THEN 'overconfidence' END), ''), 'none') AS signs
FROM designs d LEFT JOIN reliance r USING (experiment) LEFT JOIN memory m USING (experiment)
LEFT JOIN confidence c USING (experiment)
ORDER BY d.position
