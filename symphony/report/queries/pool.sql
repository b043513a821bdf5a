-- title: The pool against each of its members
-- mirrors: Tables 7 and 8
-- caption: The reference's pool against other pools and single models, under the same search or another one (column search). "All tasks" and the columns of the tasks are success rates. "Gain of the pool" = reference minus row over all tasks on the same problems, with a 95 % paired bootstrap interval: positive means that the pool is better. The best single model under the reference's search is chosen on these same problems, which favours it.
WITH reference AS (SELECT * FROM designs WHERE reference),
members AS (
    SELECT d.*, len(d.agents) = 1 AND d.search = r.search AND list_contains(r.agents, d.agents[1]) AS member
    FROM designs d, reference r
    WHERE d.reference OR d.pool <> r.pool AND (d.search = r.search OR len(d.agents) = 1)
),
best AS (
    SELECT arg_max(experiment, s.success.value) AS experiment
    FROM members JOIN success_cells s USING (experiment) WHERE member AND s.block = 'all tasks'
),
rows AS (
    SELECT m.title AS method, array_to_string(m.agents, ' + ') AS agents, m.search,
           CASE WHEN m.reference THEN 'reference' WHEN m.experiment = (SELECT experiment FROM best)
                THEN 'best single' WHEN m.member THEN 'single' ELSE '' END AS role,
           m.position, s.block, s.success.value AS rate, t.n, t.success,
           CASE WHEN p.pairs IS NOT NULL THEN {'value': -p.success_difference.value, 'low': -p.success_difference.high,
                                               'high': -p.success_difference.low} END AS gain, p.p
    FROM members m JOIN success_cells s USING (experiment)
    JOIN success_cells t ON t.experiment = m.experiment AND t.block = 'all tasks'
    LEFT JOIN paired_cells p ON p.experiment = m.experiment AND p.block = 'all tasks'
    WHERE s.block <> 'all tasks'
)
SELECT method, agents, search, role, n, success AS "all tasks", gain AS "gain of the pool", p AS "McNemar p",
       * EXCLUDE (method, agents, search, role, position, n, success, gain, p)
FROM (PIVOT rows ON block USING first(rate)
      GROUP BY method, agents, search, role, position, n, success, gain, p)
ORDER BY position
