-- title: Cost of a problem
-- mirrors: Tables 4 and 6
-- caption: Means over problems; tokens have a 95 % interval from the spread between problems. Tokens count as consumed, whether a model generated them or the call store supplied them. "Generated tokens" are those that models really produced (few if runs share calls). The root does not count as a node. Seconds are those of the whole process during the run, divided by its problems; the runs of a group are searched together, so their seconds overlap. Dollars are shown if a call costs any; they follow the models' price tables and are counted like tokens. "Dollars in all" is their sum over the row. "Unknown" means that a price is not known.
-- optional: dollars, dollars in all
WITH spent AS (
    SELECT c.*, w.generated_tokens / r.problems AS generated, w.wall_s / r.problems AS wall_s,
           w.cpu_s / r.problems AS cpu_s
    FROM cells c JOIN runs r USING (run) JOIN walls w USING (run)
)
SELECT any_value(title) AS method, block AS task, count(*) AS n, avg(success::INT) AS success,
       avg(prompt_tokens) AS "prompt tokens", avg(completion_tokens) AS "completion tokens",
       average(prompt_tokens + completion_tokens, cluster) AS "tokens",
       avg(generated) AS "generated tokens", avg(calls) AS calls, avg(nodes_tree) AS "tree nodes",
       avg(nodes_simulated) AS "simulated nodes", avg(iterations) AS iterations,
       avg(wall_s) AS "wall seconds", avg(cpu_s) AS "CPU seconds",
       CASE WHEN count(cost) = count(*) THEN avg(cost) END AS dollars,
       CASE WHEN count(cost) = count(*) THEN sum(cost) END AS "dollars in all"
FROM spent GROUP BY experiment, block ORDER BY any_value(block_position), block, any_value(position)
