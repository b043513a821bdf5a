-- title: What quantised weights change in the searches
-- mirrors: no counterpart (SYMPHONY-S ran quantised models without saying what that changes)
-- caption: The reference with its weights as they are (before) and with quantised weights (after), on the same problems: success with 95 % Wilson intervals, their paired difference (after minus before; negative means that quantisation costs success) with a 95 % bootstrap interval, and the exact two-sided McNemar test. These runs stand in no other table.
WITH twice AS (
    SELECT q.*, b.success AS before, b.prompt_tokens + b.completion_tokens AS tokens_before
    FROM all_outcomes q JOIN outcomes b
      ON q.apart AND b.reference AND q.task = b.task AND q.dataset = b.dataset AND q.seed = b.seed AND q.problem = b.problem
),
blocks AS (SELECT *, task AS block, 0 AS last FROM twice UNION ALL SELECT *, 'all tasks', 1 FROM twice)
SELECT any_value(title) AS method, block AS task, count(*) AS pairs,
       wilson(count(*) FILTER (before), count(*)) AS "success before",
       wilson(count(*) FILTER (success), count(*)) AS "success after",
       bootstrap(list(success::INT - before::INT ORDER BY cluster, seed), list(cluster ORDER BY cluster, seed))
           AS "success difference",
       count(*) FILTER (before AND NOT success) AS "only before", count(*) FILTER (success AND NOT before) AS "only after",
       mcnemar(count(*) FILTER (success AND NOT before), count(*) FILTER (before AND NOT success)) AS "McNemar p",
       avg(tokens_before) AS "tokens before", avg(prompt_tokens + completion_tokens) AS "tokens after"
FROM blocks GROUP BY experiment, block ORDER BY any_value(position), any_value(last), block
