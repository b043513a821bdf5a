-- title: Share of model calls per agent
-- mirrors: Figure 3
-- caption: Of a method's calls (of all phases, and of each phase alone), the share that each agent answered. "Simulation" is expansion and evaluation inside simulations. Methods with one agent are left out.
WITH told AS (
    SELECT o.experiment, o.title, o.position, o.agents, c.agent, c.phase
    FROM calls c JOIN outcomes o USING (run, problem) WHERE len(o.agents) > 1
),
sums AS (
    SELECT experiment, any_value(title) AS title, any_value(position) AS position, agent,
           any_value(list_position(agents, agent)) AS rank, count(*) AS calls,
           count(*) FILTER (phase = 'expand') AS expand, count(*) FILTER (phase = 'evaluate') AS evaluate,
           count(*) FILTER (phase = 'reflect') AS reflect, count(*) FILTER (phase LIKE 'sim%') AS simulate
    FROM told GROUP BY experiment, agent
)
SELECT title AS method, agent, calls, calls / sum(calls) OVER w AS "all phases",
       expand / nullif(sum(expand) OVER w, 0) AS expansion, evaluate / nullif(sum(evaluate) OVER w, 0) AS evaluation,
       reflect / nullif(sum(reflect) OVER w, 0) AS reflection, simulate / nullif(sum(simulate) OVER w, 0) AS simulation
FROM sums WINDOW w AS (PARTITION BY experiment) ORDER BY position, rank
