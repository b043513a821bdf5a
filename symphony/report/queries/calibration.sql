-- title: Calibration of the evaluators
-- mirrors: nothing in the paper (it names miscalibrated confidence as a failure to watch)
-- caption: Each agent's verbalised value Z and confidence C (all methods together) against what became of the node: "reached" means that the node or one below it was solved, or is on the way to a graded success; a node whose subtree was never searched counts as not reached. Brier = mean squared error of Z (0 is perfect; "Brier of the rate" is what always answering the rate would score). A verdict is right when Z > 0.5 agrees with "reached". Fallback evaluations are left out and counted.
WITH RECURSIVE reached AS (
    SELECT run, problem, node FROM nodes WHERE solved
    UNION
    SELECT run, problem, answer_node AS node FROM problems WHERE success
    UNION
    SELECT n.run, n.problem, n.parent AS node
    FROM reached r JOIN nodes n USING (run, problem, node) WHERE n.parent IS NOT NULL
),
evaluator AS (
    SELECT run, problem, node, arg_max(agent, call) AS evaluator
    FROM calls WHERE phase IN ('evaluate', 'sim_evaluate') AND error IS NULL GROUP BY ALL
),
judged AS (
    SELECT e.evaluator, o.block, o.block_position, n.value AS z, n.confidence AS c, n.fallback, (h.node IS NOT NULL) AS good
    FROM evaluator e JOIN nodes n USING (run, problem, node) JOIN cells o USING (run, problem)
    LEFT JOIN reached h ON h.run = n.run AND h.problem = n.problem AND h.node = n.node
    WHERE n.value IS NOT NULL
)
SELECT evaluator AS agent, block AS task, count(*) FILTER (NOT fallback) AS evaluations,
       count(*) FILTER (fallback) AS fallbacks, avg(good::INT) FILTER (NOT fallback) AS reached,
       avg(z) FILTER (NOT fallback) AS "mean Z", avg(z) FILTER (NOT fallback AND good) AS "Z if reached",
       avg(z) FILTER (NOT fallback AND NOT good) AS "Z if not", avg((z - good::INT) ** 2) FILTER (NOT fallback) AS "Brier of Z",
       (avg(good::INT) FILTER (NOT fallback)) * (1 - (avg(good::INT) FILTER (NOT fallback))) AS "Brier of the rate",
       avg(c) FILTER (NOT fallback) AS "mean C", avg(c) FILTER (NOT fallback AND (z > 0.5) = good) AS "C if right",
       avg(c) FILTER (NOT fallback AND (z > 0.5) <> good) AS "C if wrong"
FROM judged GROUP BY evaluator, block ORDER BY any_value(block_position), block, evaluator
