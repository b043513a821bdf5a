-- title: Does the confidence order the nodes better?
-- mirrors: no counterpart (the evidence behind its ablation of EMCS)
-- caption: Of the pairs of evaluated nodes in one tree of which one led to success and the other did not, the share in which the better one has the higher value (AUC: 0.5 is chance, 1 is perfect order; a tie counts half), by the plain value Z and by R = Z (1 − E(C)); mean over trees that have both kinds, with a 95 % paired bootstrap interval of the difference: positive means that the confidence helps. "Best child changed": the share of expansions with two evaluated children or more in which the child with the highest R is not the one with the highest Z. All methods together, fallbacks left out.
WITH judged AS (
    SELECT * FROM judgements WHERE NOT fallback
    UNION ALL BY NAME
    SELECT * REPLACE ('all agents' AS agent) FROM judgements WHERE NOT fallback
),
ranked AS (
    SELECT *, rank() OVER (PARTITION BY agent, run, problem ORDER BY z)
                  + (count(*) OVER (PARTITION BY agent, run, problem, z) - 1) / 2 AS rank_z,
           rank() OVER (PARTITION BY agent, run, problem ORDER BY r)
                  + (count(*) OVER (PARTITION BY agent, run, problem, r) - 1) / 2 AS rank_r
    FROM judged
),
trees AS (
    SELECT agent, run, problem, any_value(task) AS task, any_value(cluster) AS cluster, any_value(seed) AS seed,
           count(*) FILTER (good) AS yes, count(*) FILTER (NOT good) AS no,
           (sum(rank_z) FILTER (good) - yes * (yes + 1) / 2) / nullif(yes * no, 0) AS auc_z,
           (sum(rank_r) FILTER (good) - yes * (yes + 1) / 2) / nullif(yes * no, 0) AS auc_r
    FROM ranked GROUP BY agent, run, problem
),
siblings AS (
    SELECT 'all agents' AS agent, any_value(task) AS task,
           arg_max(node, (z, -node)) <> arg_max(node, (r, -node)) AS changed
    FROM judgements WHERE origin = 'expand' AND NOT fallback GROUP BY run, problem, parent, iteration HAVING count(*) > 1
),
blocks AS (SELECT DISTINCT task, task AS block, 0 AS position FROM judgements
           UNION ALL SELECT DISTINCT task, 'all tasks', 1 FROM judgements),
orders AS (
    SELECT agent, block, any_value(position) AS position, count(auc_z) AS trees, avg(auc_z) AS auc_z, avg(auc_r) AS auc_r,
           bootstrap(list(auc_r - auc_z ORDER BY cluster, seed, run) FILTER (auc_z IS NOT NULL),
                     list(cluster ORDER BY cluster, seed, run) FILTER (auc_z IS NOT NULL)) AS difference
    FROM trees JOIN blocks USING (task) GROUP BY agent, block
),
levels AS (SELECT agent, block, count(*) AS evaluations, avg(c) AS c, stddev_pop(c) AS spread
           FROM judged JOIN blocks USING (task) GROUP BY agent, block),
changes AS (SELECT agent, block, count(*) AS expansions, avg(changed::INT) AS changed
            FROM siblings JOIN blocks USING (task) GROUP BY agent, block)
SELECT agent, block AS task, evaluations, c AS "mean C", spread AS "std. dev. of C", trees, auc_z AS "AUC of Z",
       auc_r AS "AUC of R", difference AS "AUC difference", expansions, changed AS "best child changed"
FROM orders JOIN levels USING (agent, block) LEFT JOIN changes USING (agent, block)
ORDER BY position, block, agent = 'all agents' DESC, agent
