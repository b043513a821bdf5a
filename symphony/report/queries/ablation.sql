-- title: Ablation: what each component adds
-- mirrors: Table 5
-- corrected: permutation p
-- caption: Each variant uses the search and the pool of the reference, but another scheduler, memory or scorer. "All tasks" and the columns of the tasks are success rates. "Gain of the component" is reference minus variant over all tasks on the same problems, with a 95 % interval from the spread between problems; a positive gain means that the component helps. "Permutation p" is the probability of a difference at least as large if variant and reference were equally good (signs of whole problems flipped, exact, two-sided mid-p). "Holm p" corrects it for the number of rows.
WITH reference AS (SELECT * FROM designs WHERE reference),
variants AS (
    SELECT d.*, concat_ws('; ',
        CASE WHEN d.scheduler <> r.scheduler THEN 'scheduler ' || r.scheduler || ' → ' || d.scheduler END,
        CASE WHEN d.memory <> r.memory THEN 'memory ' || r.memory || ' → ' || d.memory END,
        CASE WHEN d.scorer <> r.scorer THEN 'scorer ' || r.scorer || ' → ' || d.scorer END) AS change
    FROM designs d, reference r WHERE d.search = r.search AND d.pool = r.pool
),
rows AS (
    SELECT v.title AS variant, CASE WHEN v.reference THEN 'full' ELSE v.change END AS change, v.position, s.block,
           s.success.value AS rate, t.n, t.success,
           CASE WHEN p.pairs IS NOT NULL THEN {'value': -p.success_difference.value, 'low': -p.success_difference.high,
                                               'high': -p.success_difference.low} END AS gain, p.p
    FROM variants v JOIN success_cells s USING (experiment)
    JOIN success_cells t ON t.experiment = v.experiment AND t.block = 'all tasks'
    LEFT JOIN paired_cells p ON p.experiment = v.experiment AND p.block = 'all tasks'
    WHERE s.block <> 'all tasks' AND (v.reference OR v.change <> '')
)
SELECT variant, change, n, success AS "all tasks", gain AS "gain of the component", p AS "permutation p",
       * EXCLUDE (variant, change, position, n, success, gain, p)
FROM (PIVOT rows ON block USING first(rate) GROUP BY variant, change, position, n, success, gain, p)
ORDER BY position
