-- title: Calibration of the evaluators
-- mirrors: no counterpart (the paper names miscalibrated confidence as a failure to watch)
-- caption: Compares the value Z and the confidence C that each model writes about a node (all methods together) with what became of the node. "Reached" means that the node or one below it was solved, or is on the way to a graded success; a node below which nothing was searched counts as not reached. "Brier of Z" is the mean squared error of Z (0 is perfect); "Brier of the rate" is the error of always answering the rate of "reached". A judgement is right if Z > 0.5 agrees with "reached". Fallbacks (answers without a readable Z and C) are counted, and left out of the other columns.
WITH judged AS (
    SELECT *, task AS block, 0 AS position FROM judgements WHERE agent <> 'random scores'
    UNION ALL SELECT *, 'all tasks', 1 FROM judgements WHERE agent <> 'random scores'
)
SELECT agent, block AS task, count(*) FILTER (NOT fallback) AS evaluations,
       count(*) FILTER (fallback) AS fallbacks, avg(good::INT) FILTER (NOT fallback) AS reached,
       avg(z) FILTER (NOT fallback) AS "mean Z", avg(z) FILTER (NOT fallback AND good) AS "Z if reached",
       avg(z) FILTER (NOT fallback AND NOT good) AS "Z if not", avg((z - good::INT) ** 2) FILTER (NOT fallback) AS "Brier of Z",
       (avg(good::INT) FILTER (NOT fallback)) * (1 - (avg(good::INT) FILTER (NOT fallback))) AS "Brier of the rate",
       avg(c) FILTER (NOT fallback) AS "mean C", avg(c) FILTER (NOT fallback AND (z > 0.5) = good) AS "C if right",
       avg(c) FILTER (NOT fallback AND (z > 0.5) <> good) AS "C if wrong"
FROM judged GROUP BY agent, block ORDER BY any_value(position), block, agent
