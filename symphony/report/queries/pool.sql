-- title: The pool against each of its members
-- mirrors: Tables 7 and 8
-- corrected: permutation p
-- caption: The reference's pool against other pools and single models, under the same search (column search) and the same feedback. "All tasks" and the columns of the tasks are success rates. "Gain of the pool" is the whole pool minus the row under the same search, over all tasks on the same problems, with a 95 % interval from the spread between problems; a positive gain means that the pool is better. "Permutation p" and "Holm p" are as in the ablation. The best single model of each search and feedback is chosen on these same problems, which favours it.
WITH shown AS (SELECT DISTINCT experiment, feedback FROM outcomes),
wholes AS (
    SELECT d.search, s.feedback, arg_min(d.experiment, (NOT d.reference, d.position)) AS whole, any_value(r.pool) AS pool,
           any_value(r.agents) AS members
    FROM designs d JOIN shown s USING (experiment), designs r
    WHERE r.reference AND d.pool = r.pool GROUP BY d.search, s.feedback
),
rivals AS (
    SELECT d.experiment, min(w.whole) AS whole,
           any_value(len(d.agents) = 1 AND list_contains(w.members, d.agents[1])) AS member
    FROM designs d JOIN shown s USING (experiment) JOIN wholes w USING (search, feedback)
    WHERE d.pool <> w.pool GROUP BY d.experiment
),
gains AS (
    SELECT c.experiment, difference(w.success::INT - c.success::INT, c.cluster) AS gain,
           signflip(w.success::INT - c.success::INT, c.cluster) AS p
    FROM rivals v JOIN outcomes c USING (experiment)
    JOIN outcomes w ON w.experiment = v.whole AND w.task = c.task AND w.dataset = c.dataset AND w.problem = c.problem
                   AND w.seed = c.seed AND w.feedback = c.feedback
    GROUP BY c.experiment
),
best AS (
    SELECT whole, arg_max(v.experiment, s.success.value) AS experiment
    FROM rivals v JOIN success_cells s USING (experiment) WHERE member AND s.block = 'all tasks' GROUP BY whole
),
roles AS (
    SELECT DISTINCT whole AS experiment, CASE WHEN d.reference THEN 'reference' ELSE 'whole pool' END AS role
    FROM rivals v JOIN designs d ON d.experiment = v.whole
    UNION ALL
    SELECT v.experiment, CASE WHEN b.experiment IS NOT NULL THEN 'best single' WHEN v.member THEN 'single' ELSE '' END
    FROM rivals v LEFT JOIN best b USING (experiment)
),
rows AS (
    SELECT d.title AS method, array_to_string(d.agents, ' + ') AS agents, d.search, role, d.position, s.block,
           s.success.value AS rate, t.n, t.success, gain, p
    FROM roles JOIN designs d USING (experiment) JOIN success_cells s USING (experiment)
    JOIN success_cells t ON t.experiment = d.experiment AND t.block = 'all tasks'
    LEFT JOIN gains USING (experiment)
    WHERE s.block <> 'all tasks'
)
SELECT method, agents, search, role, n, success AS "all tasks", gain AS "gain of the pool", p AS "permutation p",
       * EXCLUDE (method, agents, search, role, position, n, success, gain, p)
FROM (PIVOT rows ON block USING first(rate)
      GROUP BY method, agents, search, role, position, n, success, gain, p)
ORDER BY position
