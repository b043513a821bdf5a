-- title: Share of model calls per agent, by search iteration
-- mirrors: Figure 3, over time
-- caption: The share of the calls in each iteration of a method that each agent answered. Late iterations include only the problems that were not solved before (column problems).
WITH told AS (
    SELECT o.experiment, o.title, o.position, o.agents, c.agent, c.iteration, c.run || '|' || c.problem AS item
    FROM calls c JOIN outcomes o USING (run, problem) WHERE len(o.agents) > 1
),
grid AS (
    SELECT experiment, iteration, any_value(title) AS title, any_value(position) AS position, count(*) AS all_calls,
           count(DISTINCT item) AS problems, unnest(any_value(agents)) AS agent
    FROM told GROUP BY experiment, iteration
),
counted AS (SELECT experiment, iteration, agent, count(*) AS calls FROM told GROUP BY ALL),
ranked AS (SELECT DISTINCT experiment, agents FROM told)
SELECT title AS method, iteration, agent, problems, coalesce(calls, 0) AS calls, coalesce(calls, 0) / all_calls AS share
FROM grid LEFT JOIN counted USING (experiment, iteration, agent) JOIN ranked USING (experiment)
ORDER BY position, iteration, list_position(agents, agent)
