-- title: Share of model calls per agent, and what its nodes were worth
-- mirrors: Figure 3; Figure 4 in the study alpha
-- caption: The share of a method's calls that each agent answered, over all phases and in each phase. "Simulation" is expansion and evaluation inside simulations. "Mean reward" is what the scheduler learns from: the mean R of the nodes that the agent proposed (only nodes with an R). "Led to success" is the share of its nodes that were solved, were graded as a success, or lie on the way to one. Methods with one agent are left out.
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
),
worth AS (
    SELECT o.experiment, n.agent, avg(n.prior) AS reward, avg(coalesce(h.good, false)::INT) AS good
    FROM nodes n JOIN outcomes o USING (run, problem) LEFT JOIN reached h USING (run, problem, node)
    WHERE n.agent IS NOT NULL GROUP BY ALL
)
SELECT title AS method, agent, calls, calls / sum(calls) OVER w AS "all phases",
       expand / nullif(sum(expand) OVER w, 0) AS expansion, evaluate / nullif(sum(evaluate) OVER w, 0) AS evaluation,
       reflect / nullif(sum(reflect) OVER w, 0) AS reflection, simulate / nullif(sum(simulate) OVER w, 0) AS simulation,
       reward AS "mean reward", good AS "led to success"
FROM sums LEFT JOIN worth USING (experiment, agent) WINDOW w AS (PARTITION BY experiment) ORDER BY position, rank
