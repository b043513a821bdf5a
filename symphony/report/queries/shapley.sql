-- title: What each agent is worth to the pool
-- mirrors: Table 7
-- caption: For studies that ran every non-empty subset of a pool under the reference's search, scheduler, scorer and memory. Shapley value: the gain in success when the agent joins, averaged over all orders in which agents can join (an empty pool solves nothing); the values of a task add up to the success of the whole pool. "Alone": success of the agent as a pool of its own. "Without it": the change when it leaves the whole pool. Intervals are of 95 %, by the spread between problems.
WITH own AS (
    SELECT o.block, o.block_position, o.cluster, o.seed, o.problem, list_sort(o.agents) AS agents, o.success::INT AS solved
    FROM cells o JOIN designs d USING (experiment), designs r
    WHERE r.reference AND (d.search, d.scheduler, d.scorer, d.memory) = (r.search, r.scheduler, r.scorer, r.memory)
),
members AS (SELECT DISTINCT unnest(agents) AS agent FROM own),
size AS (SELECT count(*) AS n FROM members),
-- Problems that every subset met, once.
met AS (
    SELECT block, cluster, seed FROM own, size GROUP BY block, cluster, seed, n
    HAVING count(*) = 2 ** n - 1 AND count(DISTINCT agents) = 2 ** n - 1
),
worth AS (
    SELECT block, any_value(block_position) AS block_position, cluster, seed, agent,
           sum(CASE WHEN list_contains(agents, agent)
                    THEN solved * factorial((len(agents) - 1)::INT) * factorial((n - len(agents))::INT) / factorial(n::INT)
                    ELSE -solved * factorial(len(agents)::INT) * factorial((n - len(agents) - 1)::INT) / factorial(n::INT)
               END) AS shapley,
           max(CASE WHEN agents = [agent] THEN solved END) AS alone,
           max(CASE WHEN len(agents) = n THEN solved END)
               - max(CASE WHEN len(agents) = n - 1 AND NOT list_contains(agents, agent) THEN solved END) AS leaving
    FROM own JOIN met USING (block, cluster, seed), members, size WHERE n > 1 GROUP BY block, cluster, seed, agent
)
SELECT block AS task, agent, count(*) AS n, count(DISTINCT cluster) AS problems, average(shapley, cluster) AS "Shapley value",
       rate(alone, cluster) AS alone, difference(-leaving, cluster) AS "without it"
FROM worth GROUP BY block, agent ORDER BY any_value(block_position), block, agent
