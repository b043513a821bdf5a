-- title: Success by method and task
-- mirrors: Tables 1, 2 and 3
-- caption: Success of the graded answer with its 95 % Wilson interval, and mean score with a 95 % bootstrap interval (problems resampled). "All tasks" pools the problems of every task that the method plays. n counts problems times seeds; where seeds repeat the same problems, trust the interval of the score. "Cut" is the number of problems that the budget of their run or of the study ended: they count as they stood.
-- optional: cut
SELECT any_value(title) AS method, s.block AS task, s.n, s.success, s.score, count(*) FILTER (cut_short) AS cut,
       string_agg(DISTINCT feedback, ', ' ORDER BY feedback) AS feedback,
       string_agg(DISTINCT commit, ', ' ORDER BY commit) AS commit
FROM success_cells s JOIN cells c USING (experiment, block)
GROUP BY experiment, s.block, s.n, s.success, s.score
ORDER BY any_value(block_position), task, any_value(position)
