-- title: Seconds of a problem, by machine and by what they were spent on
-- mirrors: no counterpart (the paper reports no time)
-- caption: Per problem: the seconds in which a search waited for its calls, by their purpose (calls that are asked together wait once), and in "everything else" the rest of the run's seconds: search, environment, scheduling, scoring, memory, prompts and records. Each problem is searched alone in the study hardware; where problems or methods are searched side by side, they share their seconds, and the rest cannot be told ("–"). "Tokens a second" are those that a model generated during these waits; answers from the call store have no time. "CPU seconds" are those of the whole process, all threads. Waits have 95 % intervals by the spread between problems, the rest by that between runs (none with one run). Tables of several machines: `symphony table hardware --database FILE --and FILE ...`.
WITH asked AS (
    SELECT o.experiment, r.hardware, o.cluster, c.run, c.problem, c.iteration, c.phase, t.latency_s, t.from_store,
           c.completion_tokens, call - row_number() OVER (PARTITION BY c.run, c.problem, c.phase, c.iteration ORDER BY call) AS island
    FROM calls c JOIN timings t USING (run, problem, call) JOIN outcomes o USING (run, problem) JOIN runs r USING (run)
),
batches AS (
    SELECT experiment, hardware, cluster, run, problem, max(latency_s) AS wait, count(*) AS calls,
           coalesce(sum(completion_tokens) FILTER (NOT from_store), 0) AS tokens,
           CASE WHEN phase LIKE 'sim%' THEN 'simulation' WHEN phase = 'expand' THEN 'expansion'
                WHEN phase = 'evaluate' THEN 'evaluation' ELSE 'reflection' END AS part
    FROM asked GROUP BY experiment, hardware, cluster, run, problem, phase, iteration, island
),
-- Every problem has every part, if only with no call.
waits AS (
    SELECT o.experiment, r.hardware, o.cluster, o.run, o.problem, p.part, p.rank, coalesce(sum(b.wait), 0) AS wait,
           coalesce(sum(b.calls), 0) AS calls, coalesce(sum(b.tokens), 0) AS tokens
    FROM outcomes o JOIN runs r USING (run),
         (VALUES ('expansion', 1), ('evaluation', 2), ('simulation', 3), ('reflection', 4)) AS p(part, rank)
    LEFT JOIN batches b ON b.run = o.run AND b.problem = o.problem AND b.part = p.part GROUP BY ALL
),
-- Runs of the same task, pool and seed are searched together and share their seconds.
spans AS (
    SELECT experiment, hardware, run, problems, wall_s, cpu_s, waited,
           waited <= wall_s AND count(*) OVER (PARTITION BY hardware, task, pool, seed) = 1 AS apart
    FROM runs JOIN walls USING (run) JOIN (SELECT run, sum(wait) AS waited FROM waits GROUP BY run) USING (run)
    WHERE experiment IN (SELECT experiment FROM designs)
),
whole AS (
    SELECT experiment, hardware, sum(problems) AS n, sum(wall_s) / sum(problems) AS wall, sum(cpu_s) / sum(problems) AS cpu,
           CASE WHEN bool_and(apart) THEN average((wall_s - waited) / problems, run) END AS other, bool_and(apart) AS apart
    FROM spans GROUP BY ALL
),
parts AS (
    SELECT experiment, hardware, rank, part, average(wait, cluster) AS seconds, avg(calls) AS calls,
           sum(tokens) / nullif(sum(wait), 0) AS speed
    FROM waits GROUP BY ALL HAVING sum(calls) > 0
    UNION ALL SELECT experiment, hardware, 5, 'everything else', other, NULL, NULL FROM whole
)
SELECT d.title AS method, p.hardware AS machine, array_to_string(d.agents, ' + ') AS agents, part AS "spent on", n,
       calls AS "calls a problem", seconds AS "seconds a problem", CASE WHEN apart THEN seconds.value / wall END AS "share",
       speed AS "tokens a second", CASE WHEN apart THEN wall END AS "wall seconds", CASE WHEN apart THEN cpu END AS "CPU seconds"
FROM parts p JOIN whole USING (experiment, hardware) JOIN designs d USING (experiment)
ORDER BY p.hardware, d.position, rank
