-- title: Who solves what another one does not
-- mirrors: no counterpart (the condition for a pool to be worth more than its best member)
-- caption: For each model alone, under the reference's search: its success, and the share of problems that it solves and the model of the column does not, on the same problems, each with a 95 % interval (Wilson, for the number of independent trials that the runs are worth). Two models complement each other if both of their shares are large; if one is near 0, that model adds nothing to the other's.
WITH alone AS (
    SELECT d.agents[1] AS agent, d.position, o.task, o.dataset, o.seed, o.problem, o.cluster, o.success
    FROM designs d JOIN outcomes o USING (experiment), designs r
    WHERE r.reference AND (d.search, d.scorer, d.memory) = (r.search, r.scorer, r.memory) AND len(d.agents) = 1
    QUALIFY rank() OVER (PARTITION BY d.agents[1] ORDER BY d.position) = 1
),
shares AS (
    SELECT a.agent, a.position, count(*) AS n, 'not ' || b.agent AS other, rate(a.success AND NOT b.success, a.cluster) AS share
    FROM alone a JOIN alone b ON a.agent <> b.agent
     AND (a.task, a.dataset, a.seed, a.problem) = (b.task, b.dataset, b.seed, b.problem)
    GROUP BY a.agent, a.position, b.agent
),
solved AS (SELECT agent, count(*) AS n, rate(success, cluster) AS success FROM alone GROUP BY agent),
rows AS (SELECT s.agent, position, w.n, w.success, other, share FROM shares s JOIN solved w USING (agent))
SELECT agent, n, success AS "solves", * EXCLUDE (agent, position, n, success)
FROM (PIVOT rows ON other USING first(share) GROUP BY agent, position, n, success) ORDER BY position
