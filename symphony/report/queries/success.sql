-- title: Success by method and task
-- mirrors: Tables 1, 2 and 3
-- caption: Success of the graded answer and mean score, each with its 95 % interval (Wilson, for the number of independent trials that the rows are worth: if seeds repeat a problem, its runs are worth less than as many problems). "All tasks" pools the problems of every task that the method plays. "n" counts problems times seeds; "problems" counts the different ones. "Cut" is the number of problems that the budget of their run or of the study ended; they count with the result that they had then.
-- optional: cut
SELECT any_value(title) AS method, s.block AS task, s.n, s.problems, s.success, s.score, count(*) FILTER (cut_short) AS cut,
       string_agg(DISTINCT feedback, ', ' ORDER BY feedback) AS feedback,
       string_agg(DISTINCT commit, ', ' ORDER BY commit) AS commit
FROM success_cells s JOIN cells c USING (experiment, block)
GROUP BY experiment, s.block, s.n, s.problems, s.success, s.score
ORDER BY any_value(block_position), task, any_value(position)
