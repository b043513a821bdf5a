-- title: What the members of the pool bring
-- mirrors: Table 8 (single agents), problem by problem
-- caption: Success of each model alone under the reference's search, with a 95 % interval. "Only this one" is the share of problems that no other single model solves. The last two columns give the success of the whole pool on the problems that the row solves, and on those that it does not. "At least one" and "every one" combine the single models; together these spend one budget per model, while the pool spends one.
WITH singles AS (
    SELECT d.experiment, d.position, d.agents[1] AS model FROM designs d, designs r
    WHERE r.reference AND d.search = r.search AND len(d.agents) = 1 AND len(r.agents) > 1
      AND list_contains(r.agents, d.agents[1])
),
alone AS (
    SELECT model, s.position, p.cluster, p.task, p.dataset, p.seed, p.problem, p.success, p.reference_success AS pool,
           sum(success::INT) OVER (PARTITION BY p.task, p.dataset, p.seed, p.problem) AS solvers,
           count(*) OVER (PARTITION BY p.task, p.dataset, p.seed, p.problem) AS members
    FROM singles s JOIN pairs p USING (experiment) WHERE p.block = 'all tasks'
),
rows AS (
    SELECT model, position, cluster, success, pool, success AND solvers = 1 AS lone FROM alone
    UNION ALL
    SELECT unnest(['at least one', 'every one']), unnest([1e6, 2e6]), cluster, unnest([solvers > 0, solvers = members]), pool, NULL
    FROM (SELECT DISTINCT cluster, task, dataset, seed, problem, solvers, members, pool FROM alone)
)
SELECT model, count(*) AS n, rate(success, cluster) AS success, avg(lone::INT) AS "only this one",
       rate(CASE WHEN success THEN pool END, cluster) AS "pool where it solves",
       rate(CASE WHEN NOT success THEN pool END, cluster) AS "pool where it fails"
FROM rows GROUP BY model, position ORDER BY position
