-- title: The best pool for a given memory or price
-- mirrors: Table 7
-- corrected: permutation p
-- caption: The pools of the study under the reference's search, scheduler, scorer and memory. For each limit on which another pool becomes the best: the pool with the highest success among those that stay within it, with a 95 % interval. "Memory" is that of the weights of the pool's models, price (in dollars, if any call costs some) and tokens are means over problems. "Success difference" is the best pool minus the runner-up, the second among those within the limit, on the same problems, with an interval by the spread between problems; "Holm p" corrects the permutation test for the number of rows. "Not told apart" lists the pools within the limit whose difference from the best one has an interval that contains 0: choose among these by other reasons. The best pool is chosen on these same problems, which favours it.
WITH own AS (
    SELECT d.experiment, d.pool, array_to_string(d.agents, ' + ') AS agents
    FROM designs d, designs r
    WHERE r.reference AND (d.search, d.scorer, d.memory) = (r.search, r.scorer, r.memory)
      AND (d.scheduler = r.scheduler OR len(d.agents) = 1)
    QUALIFY row_number() OVER (PARTITION BY d.pool ORDER BY NOT d.reference, d.position) = 1
),
spent AS (
    SELECT experiment, any_value(agents) AS agents, any_value(z.bytes) AS bytes, count(*) AS n, count(DISTINCT cluster) AS problems,
           avg(prompt_tokens + completion_tokens) AS tokens, CASE WHEN count(cost) = count(*) THEN avg(cost) END AS dollars,
           rate(success, cluster) AS success
    FROM (SELECT * EXCLUDE (agents, pool) FROM outcomes) JOIN own USING (experiment) LEFT JOIN pool_sizes z USING (pool)
    GROUP BY experiment
),
costs AS (
    SELECT experiment, 1 AS rank, 'memory' AS measure, bytes / 1e9 AS cost FROM spent WHERE bytes > 0
    UNION ALL SELECT experiment, 2, 'price of a problem', dollars FROM spent WHERE (SELECT max(dollars) FROM spent) > 0 AND dollars IS NOT NULL
    UNION ALL SELECT experiment, 3, 'tokens of a problem', tokens FROM spent
),
limits AS (SELECT DISTINCT rank, measure, cost AS most FROM costs),
within AS (
    SELECT l.rank, l.measure, l.most, c.experiment,
           row_number() OVER (PARTITION BY l.measure, l.most ORDER BY s.success.value DESC, c.cost, c.experiment) AS place
    FROM limits l JOIN costs c ON c.measure = l.measure AND c.cost <= l.most JOIN spent s USING (experiment)
),
steps AS (
    SELECT w.*, lag(experiment) OVER (PARTITION BY measure ORDER BY most) AS before FROM within w WHERE place = 1
),
best AS (SELECT * FROM steps WHERE experiment IS DISTINCT FROM before AND (SELECT count(*) FROM spent) > 1),
rivals AS (
    SELECT b.measure, b.most, w.experiment, any_value(w.place) AS place,
           difference(x.success::INT - y.success::INT, x.cluster) AS gain, signflip(x.success::INT - y.success::INT, x.cluster) AS p
    FROM best b JOIN within w ON w.measure = b.measure AND w.most = b.most AND w.place > 1
    JOIN outcomes x ON x.experiment = b.experiment
    JOIN outcomes y ON y.experiment = w.experiment AND (x.task, x.dataset, x.seed, x.problem) = (y.task, y.dataset, y.seed, y.problem)
    GROUP BY b.measure, b.most, w.experiment
),
others AS (
    SELECT measure, most, arg_min(s.agents, place) AS agents, arg_min(gain, place) AS gain, arg_min(p, place) AS p,
           string_agg(s.agents, '; ' ORDER BY place) FILTER (r.gain.low <= 0) AS alike
    FROM rivals r JOIN spent s USING (experiment) GROUP BY measure, most
)
SELECT b.measure AS "limit on",
       CASE rank WHEN 1 THEN printf('%.3g GB', b.most) WHEN 2 THEN printf('%.3g dollars', b.most) ELSE printf('%.0f tokens', b.most)
       END AS "at most", s.agents AS "best pool", s.n, s.problems, s.success, o.agents AS "runner-up",
       o.gain AS "success difference", o.p AS "permutation p", o.alike AS "not told apart"
FROM best b JOIN spent s USING (experiment) LEFT JOIN others o ON o.measure = b.measure AND o.most = b.most
ORDER BY b.rank, b.most
