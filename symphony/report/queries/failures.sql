-- title: What went wrong, and why searches ended
-- mirrors: no counterpart
-- caption: Per problem: answers without an action (unparsed), actions that the environment refused (invalid), evaluations that could not be understood and were replaced by Z = C = 0.5 (fallbacks), and failed calls. "Cut" is the share of answers that reached the token limit of a call. "Shortened" is the share of prompts that were too long for a model, so lessons were dropped, then worked examples; the columns beside it say how many per problem. "Broken test" is the share of problems whose published test can't be run; no program passes them. The columns from "solved" on say why searches ended, as shares of the problems: success was seen, an agent accepted the answer, all iterations were done, nothing was left to explore, a limit of the problem's own budget was reached, a limit of its run's or its study's budget was reached, or no agent answered.
-- optional: accepted, shortened, lessons dropped, examples dropped, broken test, money budget, run's budget, study's budget
WITH cut AS (
    SELECT run, problem, count(*) FILTER (finish_reason = 'length') AS cut,
           count(*) FILTER (dropped_lessons + dropped_shots > 0) AS shortened,
           sum(dropped_lessons) AS lessons, sum(dropped_shots) AS shots
    FROM calls GROUP BY run, problem
)
SELECT any_value(title) AS method, count(*) AS n, avg(unparsed) AS unparsed, avg(invalid) AS invalid,
       avg(fallbacks) AS fallbacks, avg(errors) AS "failed calls", sum(coalesce(cut, 0)) / nullif(sum(calls), 0) AS cut,
       sum(coalesce(shortened, 0)) / nullif(sum(calls), 0) AS shortened, avg(coalesce(lessons, 0)) AS "lessons dropped",
       avg(coalesce(shots, 0)) AS "examples dropped",
       avg(starts_with(detail, 'broken test: ')::INT) AS "broken test",
       avg((stop_reason = 'solved')::INT) AS solved, avg((stop_reason = 'accepted')::INT) AS accepted,
       avg((stop_reason = 'iterations')::INT) AS iterations,
       avg((stop_reason = 'exhausted')::INT) AS exhausted, avg((stop_reason = 'calls')::INT) AS "call budget",
       avg((stop_reason = 'tokens')::INT) AS "token budget", avg((stop_reason = 'seconds')::INT) AS "time budget",
       avg((stop_reason = 'money')::INT) AS "money budget", avg(starts_with(stop_reason, 'run_')::INT) AS "run's budget",
       avg(starts_with(stop_reason, 'study_')::INT) AS "study's budget", avg((stop_reason = 'error')::INT) AS "no agent left"
FROM outcomes LEFT JOIN cut USING (run, problem) GROUP BY experiment ORDER BY any_value(position)
