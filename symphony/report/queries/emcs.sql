-- title: Does the confidence order the nodes better?
-- mirrors: no counterpart (the evidence behind its ablation of EMCS)
-- caption: Of the pairs of evaluated nodes in one tree of which one led to success and the other did not, the share in which the better one has the higher value (AUC: 1 is perfect order; a tie counts half), by the plain value Z and by R = Z (1 − E(C)); mean over trees that have both kinds. 0.5 is not chance here: the search went on from nodes with high values, and only where it goes on it can find success. "Z shuffled" and "R shuffled" are what values without any knowledge get in the same trees: the mean AUC over all ways to deal the values out anew among nodes that the search treated alike (as many visits, and gone on from or not). "Lift" = AUC of R minus R shuffled, "AUC difference" = AUC of R minus AUC of Z, each with a 95 % interval by the spread between problems: a positive lift means that the values know something (a negative one means nothing: of nodes visited equally often, the one whose success ended the search was visited last, because its value was lower), a positive difference that the confidence helps. "Best child changed": the share of expansions with two evaluated children or more in which the child with the highest R is not the one with the highest Z. All methods together, fallbacks left out; random scores stand in a row of their own.
WITH judged AS (
    SELECT * FROM judgements WHERE NOT fallback
    UNION ALL BY NAME
    SELECT * REPLACE ('all agents' AS agent) FROM judgements WHERE NOT fallback AND agent <> 'random scores'
),
-- `luck`: the chance that a node with its treatment led to success.
treated AS (SELECT *, avg(good::INT) OVER (PARTITION BY agent, run, problem, visits, went_on) AS luck FROM judged),
trees AS (
    SELECT a.agent, a.run, a.problem, any_value(a.task) AS task, any_value(a.cluster) AS cluster,
           nullif(count(*) FILTER (a.good AND NOT b.good), 0) AS pairs,
           sum(CASE WHEN a.z > b.z THEN 1 WHEN a.z = b.z THEN 0.5 ELSE 0 END) FILTER (a.good AND NOT b.good) / pairs AS auc_z,
           sum(CASE WHEN a.r > b.r THEN 1 WHEN a.r = b.r THEN 0.5 ELSE 0 END) FILTER (a.good AND NOT b.good) / pairs AS auc_r,
           sum(CASE WHEN a.z > b.z THEN 1 WHEN a.z = b.z THEN 0.5 ELSE 0 END * a.luck * (1 - b.luck)) / pairs AS dealt_z,
           sum(CASE WHEN a.r > b.r THEN 1 WHEN a.r = b.r THEN 0.5 ELSE 0 END * a.luck * (1 - b.luck)) / pairs AS dealt_r
    FROM treated a JOIN treated b USING (agent, run, problem) GROUP BY a.agent, a.run, a.problem
),
siblings AS (
    SELECT 'all agents' AS agent, any_value(task) AS task,
           arg_max(node, (z, -node)) <> arg_max(node, (r, -node)) AS changed
    FROM judged WHERE origin = 'expand' AND agent = 'all agents' GROUP BY run, problem, parent, iteration HAVING count(*) > 1
),
blocks AS (SELECT DISTINCT task, task AS block, 0 AS position FROM judgements
           UNION ALL SELECT DISTINCT task, 'all tasks', 1 FROM judgements),
orders AS (
    SELECT agent, block, any_value(position) AS position, count(auc_z) AS trees, avg(auc_z) AS auc_z, avg(dealt_z) AS dealt_z,
           avg(auc_r) AS auc_r, avg(dealt_r) AS dealt_r, difference(auc_r - dealt_r, cluster) AS lift,
           difference(auc_r - auc_z, cluster) AS difference
    FROM trees JOIN blocks USING (task) GROUP BY agent, block
),
levels AS (SELECT agent, block, count(*) AS evaluations, avg(c) AS c, stddev_pop(c) AS spread
           FROM judged JOIN blocks USING (task) GROUP BY agent, block),
changes AS (SELECT agent, block, count(*) AS expansions, avg(changed::INT) AS changed
            FROM siblings JOIN blocks USING (task) GROUP BY agent, block)
SELECT agent, block AS task, evaluations, c AS "mean C", spread AS "std. dev. of C", trees, auc_z AS "AUC of Z",
       dealt_z AS "Z shuffled", auc_r AS "AUC of R", dealt_r AS "R shuffled", lift, difference AS "AUC difference",
       expansions, changed AS "best child changed"
FROM orders JOIN levels USING (agent, block) LEFT JOIN changes USING (agent, block)
ORDER BY position, block, agent = 'all agents' DESC, agent = 'random scores', agent
