-- title: Success under smaller budgets
-- mirrors: no counterpart (the paper compares methods at the iterations of each)
-- caption: What each method would have solved with a smaller limit of tokens for a problem: of one recorded run, the answer that the search would have given had it been refused its next call there, graded like every other. A call counts only where it fits into the smaller limit. "Token limit" is the largest limit of the study, or what was spent where there is none. 95 % intervals. Methods whose answer can not be cut are left out. Where arms or lessons live as long as a run, the earlier problems are taken as they were recorded, uncut.
SELECT any_value(title) AS method, block AS task, any_value(n) AS n, any_value(whole) AS "token limit",
       any_value(success) FILTER (step = 3) AS "an eighth of it", any_value(success) FILTER (step = 6) AS "a quarter",
       any_value(success) FILTER (step = 12) AS "half", any_value(success) FILTER (step = 24) AS "all of it"
FROM anytime_cells WHERE measure = 'tokens'
GROUP BY experiment, block ORDER BY any_value(block_position), block, any_value(position)
