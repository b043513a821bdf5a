-- title: Each method against the reference, problem by problem
-- mirrors: Table 7 (its paired test), for every method
-- corrected: permutation p
-- caption: Difference = method minus reference on the same problems (same task, data and seed), with a 95 % interval by the spread between problems: negative means that the reference is better. Pairs counts problems times seeds; where seeds repeat a problem its runs belong together (column problems). "Permutation p" is the test on success over problems (signs of whole problems flipped, exact, two-sided mid-p), "Holm p" the same corrected for the number of rows. "Same calls": share of the problems on which the method made the same calls as the reference.
SELECT d.title AS method, block AS task, pairs, problems, success_difference AS "success difference",
       only_method AS "only method solved", only_reference AS "only reference solved", p AS "permutation p",
       score_difference AS "score difference", same_calls AS "same calls"
FROM paired_cells JOIN designs d USING (experiment)
ORDER BY block_position, block, d.position
