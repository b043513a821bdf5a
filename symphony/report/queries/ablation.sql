-- title: Ablation: what each component adds
-- mirrors: Table 5
-- corrected: permutation p
-- caption: Each variant uses the search and the pool of the reference, but another scheduler, memory or scorer. "All tasks" and the columns of the tasks are success rates. If a variant saw other feedback than the reference, it is compared with the reference's variant that saw the same ("compared with"). "Gain of the component" is that method minus the variant over all tasks on the same problems, with a 95 % interval from the spread between problems; a positive gain means that the component helps. "Permutation p" is the probability of a difference at least as large if variant and reference were equally good (signs of whole problems flipped, exact, two-sided mid-p). "Holm p" corrects it for the number of rows.
WITH reference AS (SELECT * FROM designs WHERE reference),
variants AS (
    SELECT d.*, concat_ws('; ',
        CASE WHEN d.scheduler <> r.scheduler THEN 'scheduler ' || r.scheduler || ' → ' || d.scheduler END,
        CASE WHEN d.memory <> r.memory THEN 'memory ' || r.memory || ' → ' || d.memory END,
        CASE WHEN d.scorer <> r.scorer THEN 'scorer ' || r.scorer || ' → ' || d.scorer END) AS change
    FROM designs d, reference r WHERE d.search = r.search AND d.pool = r.pool
),
gains AS (
    SELECT o.experiment, string_agg(DISTINCT s.title, ', ' ORDER BY s.title) AS against,
           difference(s.success::INT - o.success::INT, o.cluster) AS gain,
           signflip(s.success::INT - o.success::INT, o.cluster) AS p
    FROM outcomes o JOIN counterparts c USING (experiment, feedback)
    JOIN outcomes s ON s.experiment = c.against AND s.feedback = o.feedback AND s.task = o.task AND s.dataset = o.dataset
                   AND s.seed = o.seed AND s.problem = o.problem
    WHERE c.against <> o.experiment GROUP BY o.experiment
),
rows AS (
    SELECT v.title AS variant, CASE WHEN v.reference THEN 'full' ELSE v.change END AS change, g.against, v.position, s.block,
           s.success.value AS rate, t.n, t.success, g.gain, g.p
    FROM variants v JOIN success_cells s USING (experiment)
    JOIN success_cells t ON t.experiment = v.experiment AND t.block = 'all tasks'
    LEFT JOIN gains g ON g.experiment = v.experiment
    WHERE s.block <> 'all tasks' AND (v.reference OR v.change <> '')
)
SELECT variant, change, against AS "compared with", n, success AS "all tasks", gain AS "gain of the component", p AS "permutation p",
       * EXCLUDE (variant, change, against, position, n, success, gain, p)
FROM (PIVOT rows ON block USING first(rate) GROUP BY variant, change, against, position, n, success, gain, p)
ORDER BY position
