-- title: What the scheduler did with its picks
-- mirrors: no counterpart (the evidence behind its ablation of scheduling)
-- caption: "Unequal share": the part of a problem's calls that would have to go to another agent to make the shares equal (0: equal; mean over problems with a 95 % bootstrap interval). "Spread" is the largest minus the smallest over the agents when a pick was made: of the mean rewards learned so far, and of the bonuses for being tried less often. "Decided by the mean": the share of picks that went to another agent than the one with the largest bonus, so that the rewards and not the turn-taking decided. "–" where the scheduler gives no bonus. Methods with one agent are left out.
WITH asked AS (
    SELECT o.experiment, o.title, o.position, o.scheduler, o.cluster, o.seed, o.agents, run, problem, c.agent, count(*) AS calls
    FROM outcomes o JOIN calls c USING (run, problem) WHERE len(o.agents) > 1 GROUP BY ALL
),
shares AS (
    SELECT experiment, title, position, scheduler, cluster, seed, sum(calls) AS calls,
           sum(greatest(calls - total / len(agents), 0)) / any_value(total) AS unequal
    FROM (SELECT *, sum(calls) OVER (PARTITION BY run, problem) AS total FROM asked)
    GROUP BY experiment, title, position, scheduler, cluster, seed, run, problem
),
decided AS (
    SELECT o.experiment, list_max(p.means) - list_min(p.means) AS means,
           CASE WHEN list_max(p.bonuses) > 0 THEN list_max(p.bonuses) - list_min(p.bonuses) END AS bonuses,
           CASE WHEN list_max(p.bonuses) > 0
                THEN list_max(p.bonuses) - p.bonuses[list_position(o.agents, p.agent)] > 1e-9 END AS by_mean
    FROM picks p JOIN outcomes o USING (run, problem) WHERE len(o.agents) > 1 AND list_min(p.counts) > 0
),
policies AS (SELECT experiment, avg(means) AS means, avg(bonuses) AS bonuses, avg(by_mean::INT) AS by_mean
             FROM decided GROUP BY experiment)
SELECT title AS method, scheduler, count(*) AS n, avg(calls) AS calls,
       bootstrap_score(list(unequal ORDER BY cluster, seed), list(cluster ORDER BY cluster, seed)) AS "unequal share",
       any_value(means) AS "spread of mean rewards", any_value(bonuses) AS "spread of bonuses",
       any_value(by_mean) AS "decided by the mean"
FROM shares LEFT JOIN policies USING (experiment) GROUP BY experiment, title, scheduler, position ORDER BY position
