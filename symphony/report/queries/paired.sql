-- title: Each method against the reference, problem by problem
-- mirrors: Table 7 (its paired test), for every method
-- caption: Difference = method minus reference on the same problems (same task, data and seed), with a 95 % paired bootstrap interval: negative means that the reference is better. p is the exact two-sided McNemar test on success, not corrected for the number of rows.
SELECT d.title AS method, block AS task, pairs, success_difference AS "success difference",
       only_method AS "only method solved", only_reference AS "only reference solved", p AS "McNemar p",
       score_difference AS "score difference"
FROM paired_cells JOIN designs d USING (experiment)
ORDER BY block_position, block, d.position
