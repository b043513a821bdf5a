-- title: Success under smaller budgets
-- mirrors: no counterpart (the paper gives each method its own number of iterations)
-- caption: What each method would have solved with a smaller token limit per problem. It is computed from one recorded run: the answer is the one that the search would have returned if its next call had been refused at that point, and is graded like every other. A call counts only if it fits into the smaller limit. "Token limit" is the largest limit of the study, or what was spent if there is no limit. Intervals are 95 %. Methods whose answer cannot be cut are left out. Where arms or lessons last as long as a run, the earlier problems are taken as recorded, not cut.
SELECT any_value(title) AS method, block AS task, any_value(n) AS n, any_value(whole) AS "token limit",
       any_value(success) FILTER (step = 3) AS "an eighth of it", any_value(success) FILTER (step = 6) AS "a quarter",
       any_value(success) FILTER (step = 12) AS "half", any_value(success) FILTER (step = 24) AS "all of it"
FROM anytime_cells WHERE measure = 'tokens'
GROUP BY experiment, block ORDER BY any_value(block_position), block, any_value(position)
