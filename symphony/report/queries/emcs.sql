-- title: Does the confidence order the nodes better?
-- mirrors: no counterpart (the evidence behind the paper's ablation of EMCS)
-- caption: Takes the pairs of evaluated nodes in one tree where one led to success and the other did not. AUC is the share of these pairs in which the better node has the higher value (1 is perfect order; a tie counts half), for the plain value Z and for R = Z (1 − E(C)), averaged over the trees that have both kinds of node. Here 0.5 is not chance: the search continued from nodes with high values, and it can find success only where it continues. "Z shuffled" and "R shuffled" are the AUC of values without any knowledge in the same trees: the mean over all ways to permute the values among nodes that the search treated alike (equally many visits, and either continued from or not). "Lift" is AUC of R minus R shuffled, and "AUC difference" is AUC of R minus AUC of Z, each with a 95 % interval from the spread between problems. A positive lift means that the values carry information. A negative lift means nothing: of nodes visited equally often, the one whose success ended the search was visited last, because its value was lower. A positive AUC difference means that the confidence helps. "Best child changed" is the share of expansions with two or more evaluated children in which the child with the highest R is not the one with the highest Z. All methods are taken together, without fallbacks; random scores have a row of their own.
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
