-- title: Success by method and task, and what differs from the reference
-- mirrors: Tables 1, 2 and 3, and the paired test of Table 7 for every method
-- corrected: permutation p
-- optional: cut
-- paper: method, task, n, success, score, success difference, Holm p
-- caption: Success of the graded answer and mean score, each with its 95 % interval (Wilson, for the number of independent trials that the rows are worth: if seeds repeat a problem, its runs are worth less than as many problems). "All tasks" pools the problems of every task that the method plays. "n" counts problems times seeds; "problems" counts the different ones. The differences are method minus reference on the same problems (same task, data and seed; "pairs" counts them), with a 95 % interval from the spread between problems; a negative difference means that the reference is better. "Permutation p" tests success over problems (signs of whole problems flipped, exact, two-sided mid-p); "Holm p" corrects it for the number of rows. "Same calls" is the share of problems on which the method made the same calls as the reference. "Cut" is the number of problems that the budget of their run or of the study ended; they count with the result that they had then.
SELECT any_value(title) AS method, s.block AS task, s.n, s.problems, s.success, s.score,
       any_value(p.success_difference) AS "success difference", any_value(p.pairs) AS pairs,
       any_value(p.only_method) AS "only method solved", any_value(p.only_reference) AS "only reference solved",
       any_value(p.p) AS "permutation p", any_value(p.score_difference) AS "score difference",
       any_value(p.same_calls) AS "same calls", count(*) FILTER (cut_short) AS cut,
       string_agg(DISTINCT feedback, ', ' ORDER BY feedback) AS feedback,
       string_agg(DISTINCT commit, ', ' ORDER BY commit) AS commit
FROM success_cells s JOIN cells c USING (experiment, block) LEFT JOIN paired_cells p USING (experiment, block)
GROUP BY experiment, s.block, s.n, s.problems, s.success, s.score
ORDER BY any_value(c.block_position), task, any_value(position)
