-- title: Claims
-- mirrors: Tables 1 to 9, as orderings
-- corrected: permutation p
-- verdict: success difference
-- optional: least, within, task
-- caption: Each claim compares two experiments on the same problems; the claims are listed in conf/claims/. "Success difference" is the first experiment minus the second, with a 95 % interval by the spread between problems. A claim is reproduced if the whole interval is above "least" (0 if there is no such column) and p, corrected for the number of claims (Holm), is at most 5 %; contradicted if the whole interval is at or below "least", with the same p if it is 0; otherwise undecided. A claim with "within" says that both solve equally many: reproduced if the whole interval lies between minus and plus that many points, contradicted if it lies outside. "Problems needed": with so many problems a difference as large as the one seen would be shown in four of five studies. Small pools are tested for orderings, not for the paper's levels.
WITH compared_problems AS (
    SELECT c.position, b.cluster, b.success::INT - t.success::INT AS gain
    FROM claims c
    JOIN all_outcomes b ON b.experiment = c.better AND (c.task IS NULL OR b.task = c.task)
    JOIN all_outcomes t ON t.experiment = c.than AND t.task = b.task AND t.dataset = b.dataset AND t.seed = b.seed
         AND t.problem = b.problem
),
compared AS (
    SELECT position, count(*) AS pairs, count(DISTINCT cluster) AS problems, difference(gain, cluster) AS gain,
           signflip(gain, cluster) AS p, needed(gain, cluster) AS needed
    FROM compared_problems GROUP BY position
)
SELECT claim, source, m.title AS "experiment", n.title AS "compared with", c.task AS task, coalesce(pairs, 0) AS n,
       coalesce(problems, 0) AS problems, gain AS "success difference", p AS "permutation p",
       nullif(least, 0) / 100 AS least, within / 100 AS within, needed AS "problems needed"
FROM claims c LEFT JOIN compared d USING (position)
LEFT JOIN methods m ON m.experiment = c.better LEFT JOIN methods n ON n.experiment = c.than
ORDER BY c.position
