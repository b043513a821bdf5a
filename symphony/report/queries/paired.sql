-- title: Each method against the reference, problem by problem
-- mirrors: Table 7 (its paired test), for every method
-- corrected: permutation p
-- caption: The differences are method minus reference on the same problems (same task, data and seed), with a 95 % interval from the spread between problems; a negative difference means that the reference is better. "Pairs" counts problems times seeds; where seeds repeat a problem, its runs belong together (column problems). "Permutation p" tests success over problems (signs of whole problems flipped, exact, two-sided mid-p); "Holm p" corrects it for the number of rows. "Same calls" is the share of problems on which the method made the same calls as the reference.
SELECT d.title AS method, block AS task, pairs, problems, success_difference AS "success difference",
       only_method AS "only method solved", only_reference AS "only reference solved", p AS "permutation p",
       score_difference AS "score difference", same_calls AS "same calls"
FROM paired_cells JOIN designs d USING (experiment)
ORDER BY block_position, block, d.position
