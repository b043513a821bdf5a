-- title: What quantised weights change in the searches
-- mirrors: no counterpart (SYMPHONY-S ran quantised models without saying what that changes)
-- corrected: permutation p
-- caption: An experiment with its original weights (before) and with differently quantised weights (after), on the same problems: success with 95 % intervals, their paired difference (after minus before; negative means that quantisation costs success) with a 95 % interval from the spread between problems, and the permutation test over problems, corrected by Holm for the number of rows. These runs appear in no other table.
WITH twice AS (
    SELECT q.*, b.title AS "compared with", b.success AS before, b.prompt_tokens + b.completion_tokens AS tokens_before
    FROM all_outcomes q JOIN outcomes b
      ON q.apart AND q.against = b.experiment AND q.task = b.task AND q.dataset = b.dataset AND q.seed = b.seed AND q.problem = b.problem
),
blocks AS (SELECT *, task AS block, 0 AS last FROM twice UNION ALL SELECT *, 'all tasks', 1 FROM twice)
SELECT any_value(title) AS method, any_value("compared with") AS "compared with", block AS task, count(*) AS pairs,
       rate(before, cluster) AS "success before", rate(success, cluster) AS "success after",
       difference(success::INT - before::INT, cluster) AS "success difference",
       count(*) FILTER (before AND NOT success) AS "only before", count(*) FILTER (success AND NOT before) AS "only after",
       signflip(success::INT - before::INT, cluster) AS "permutation p",
       avg(tokens_before) AS "tokens before", avg(prompt_tokens + completion_tokens) AS "tokens after"
FROM blocks GROUP BY experiment, block ORDER BY any_value(position), any_value(last), block
