-- title: What went wrong, and why searches ended
-- mirrors: nothing in the paper
-- caption: Per problem: completions without an action, actions the environment refused, evaluations that could not be understood (replaced by Z = C = 0.5), failed calls. "Cut" is the share of completions that ran into the token limit. The rest are shares of the reasons for which searches ended.
WITH cut AS (
    SELECT run, problem, count(*) FILTER (finish_reason = 'length') AS cut FROM calls GROUP BY run, problem
)
SELECT any_value(title) AS method, count(*) AS n, avg(unparsed) AS unparsed, avg(invalid) AS invalid,
       avg(fallbacks) AS fallbacks, avg(errors) AS errors, sum(coalesce(cut, 0)) / nullif(sum(calls), 0) AS cut,
       avg((stop_reason = 'solved')::INT) AS solved, avg((stop_reason = 'iterations')::INT) AS iterations,
       avg((stop_reason = 'exhausted')::INT) AS exhausted, avg((stop_reason = 'calls')::INT) AS "call budget",
       avg((stop_reason = 'tokens')::INT) AS "token budget", avg((stop_reason = 'seconds')::INT) AS "time budget",
       avg((stop_reason = 'error')::INT) AS error
FROM outcomes LEFT JOIN cut USING (run, problem) GROUP BY experiment ORDER BY any_value(position)
