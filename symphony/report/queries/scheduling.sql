-- title: What decided the scheduler's picks
-- mirrors: no counterpart (the evidence behind the paper's ablation of scheduling)
-- caption: "Unequal share" is the part of a problem's calls that would have to go to another agent to make the shares equal (0 means equal; mean over problems with a 95 % interval). "Spread" is the largest minus the smallest value over the agents at a pick: of the mean rewards learned so far, and of the bonuses for being tried less often. The columns from "first calls" on say what decided a pick, as shares of all picks: an agent had never been asked; the bonus alone (it was largest for one agent, and another had the best mean); both (the agent with the largest bonus also had the best mean); the mean among agents whose bonuses tied for the largest; the mean against the bonus (the chosen agent did not have the largest bonus); the order of the pool, if both tied; or another rule (for example, an agent with a higher sum was suspended). "Learned rewards" adds up the picks that would have gone to another agent, or to the first of the pool, without them. "–" means that the scheduler gives no bonus. Methods with one agent are left out.
-- optional: another rule
WITH asked AS (
    SELECT o.experiment, o.title, o.position, o.scheduler, o.cluster, o.agents, run, problem, c.agent, count(*) AS calls
    FROM outcomes o JOIN calls c USING (run, problem) WHERE len(o.agents) > 1 GROUP BY ALL
),
shares AS (
    SELECT experiment, title, position, scheduler, cluster, sum(calls) AS calls,
           sum(greatest(calls - total / len(agents), 0)) / any_value(total) AS unequal
    FROM (SELECT *, sum(calls) OVER (PARTITION BY run, problem) AS total FROM asked)
    GROUP BY experiment, title, position, scheduler, cluster, run, problem
),
-- One row a pick: what the scheduler saw of each agent, and the place of the agent that it picked.
seen AS (
    SELECT o.experiment, p.counts, p.means, p.bonuses, list_position(o.agents, p.agent) AS own,
           [mean + p.bonuses[i] FOR mean, i IN p.means] AS bounds,
           [bonus >= list_max(p.bonuses) - 1e-9 FOR bonus IN p.bonuses] AS tops
    FROM picks p JOIN outcomes o USING (run, problem) WHERE len(o.agents) > 1
),
told AS (
    SELECT experiment, max(list_max(bonuses)) > 0 AS by_bonus FROM seen GROUP BY experiment
),
decided AS (
    SELECT experiment, list_min(counts) > 0 AS known, list_max(means) - list_min(means) AS means,
           CASE WHEN by_bonus THEN list_max(bonuses) - list_min(bonuses) END AS bonuses,
           CASE WHEN NOT by_bonus THEN NULL
                WHEN counts[own] = 0 THEN 'first'
                WHEN bounds[own] < list_max(bounds) - 1e-9 THEN 'another'
                WHEN NOT tops[own] THEN 'against'
                WHEN list_count([top FOR top IN tops IF top]) = 1 THEN if(means[own] >= list_max(means) - 1e-9, 'both', 'bonus')
                WHEN list_count([mean FOR mean, i IN means IF tops[i] AND mean >= means[own] - 1e-9]) = 1 THEN 'tied'
                ELSE 'order' END AS decision
    FROM seen JOIN told USING (experiment)
),
policies AS (
    SELECT experiment, avg(means) FILTER (known) AS means, avg(bonuses) FILTER (known) AS bonuses,
           avg((decision = 'first')::INT) AS first_calls, avg((decision = 'bonus')::INT) AS bonus,
           avg((decision = 'both')::INT) AS agreed, avg((decision = 'tied')::INT) AS tied,
           avg((decision = 'against')::INT) AS against, avg((decision = 'order')::INT) AS pool_order,
           avg((decision = 'another')::INT) AS another
    FROM decided GROUP BY experiment
)
SELECT title AS method, scheduler, count(*) AS n, avg(calls) AS calls, rate(unequal, cluster) AS "unequal share",
       any_value(means) AS "spread of mean rewards", any_value(bonuses) AS "spread of bonuses",
       any_value(first_calls) AS "first calls", any_value(bonus) AS "bonus alone", any_value(agreed) AS "bonus and mean agree",
       any_value(tied) AS "mean at tied bonuses", any_value(against) AS "mean against bonus",
       any_value(pool_order) AS "order of the pool", any_value(another) AS "another rule",
       any_value(tied + against) AS "learned rewards"
FROM shares LEFT JOIN policies USING (experiment) GROUP BY experiment, title, scheduler, position ORDER BY position
