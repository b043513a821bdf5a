-- title: Skill matrix: success by kind of problem and model
-- mirrors: Table 8 (single agents), by kind of problem
-- caption: Success rate of the reference's search with a single model, beside the whole pool, for each kind of problem. n is the number of problems per column.
WITH columns AS (
    SELECT d.experiment, CASE WHEN d.reference THEN 'whole pool' ELSE d.agents[1] END AS model
    FROM designs d, designs r
    WHERE r.reference AND d.search = r.search AND (d.reference OR len(d.agents) = 1)
),
rates AS (
    SELECT task, CASE WHEN kind = '' THEN task ELSE kind END AS kind, model, count(*) AS n, avg(success::INT) AS rate
    FROM outcomes JOIN columns USING (experiment) GROUP BY ALL
),
sized AS (SELECT * EXCLUDE n, max(n) OVER (PARTITION BY task, kind) AS n FROM rates)
SELECT * FROM (PIVOT sized ON model USING first(rate) GROUP BY task, kind, n) ORDER BY task, kind
