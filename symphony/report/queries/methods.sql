-- title: Methods under one budget
-- mirrors: Tables 1, 2, 3 and 6, for every method of the study
-- caption: Every method on the same problems with the same models. "Token limit" is what each may spend on a problem. Success and score have 95 % intervals; n counts problems times seeds. Tokens (prompt and completion, as consumed), calls and nodes (simulated ones included, the root not) are means over problems. "Computed tokens" are those that a model computed: tokens without those of prompts that its cache held from earlier prompts (as measured, so they depend on what ran side by side). A method that stops early spends less than the limit. "Wall seconds" (from wall.json) are those of the whole process during the run, divided by its problems; runs of a group are searched together, so these overlap. "Seconds of calls" (from timings.jsonl) add up, over a problem's calls, the time from question to answer, including the wait for a shared batch; they are close to 0 if the call store answers.
-- split: task
WITH walls AS (SELECT run, w.wall_s / r.problems AS wall_s FROM walls w JOIN runs r USING (run)),
waits AS (SELECT run, problem, sum(latency_s) AS latency_s, sum(cached_tokens) AS cached FROM timings GROUP BY ALL)
SELECT any_value(title) AS method, block AS task,
       string_agg(DISTINCT feedback, ', ' ORDER BY feedback) AS feedback, any_value(s.n) AS n,
       any_value(s.success) AS success, any_value(s.score) AS score, max(token_limit) AS "token limit",
       avg(prompt_tokens + completion_tokens) AS tokens,
       avg(prompt_tokens + completion_tokens - coalesce(cached, 0)) AS "computed tokens",
       avg(calls) AS calls, avg(nodes_tree + nodes_simulated) AS nodes,
       avg(wall_s) AS "wall seconds", avg(coalesce(latency_s, 0)) AS "seconds of calls"
FROM cells c JOIN success_cells s USING (experiment, block) JOIN walls USING (run) LEFT JOIN waits USING (run, problem)
GROUP BY experiment, block ORDER BY any_value(block_position), block, any_value(position)
