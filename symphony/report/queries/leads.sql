-- title: Is the reference ahead under every smaller budget?
-- mirrors: no counterpart (the paper gives each method its own number of iterations)
-- caption: The reference's success minus the method's on the same problems over all tasks, under each token limit of the anytime curve from 1,000 tokens on. If the method saw other feedback than the reference, it is compared with the reference's variant that saw the same ("compared with"). "Ahead" and "behind" count the limits at which the interval of the difference excludes 0 and p, corrected for the number of limits (Holm), is at most 5 %. "Smallest lead" and "largest lead" are the differences at the limits in the columns after them, with 95 % intervals by the spread between problems. The table lead_curve has every limit.
WITH told AS (
    SELECT *, holm <= 0.05 AND lead.low > 0 AS ahead, holm <= 0.05 AND lead.high < 0 AS behind FROM leads
)
SELECT title AS method, against AS "compared with", any_value(n) AS n, count(*) AS limits,
       count(*) FILTER (ahead) AS ahead, count(*) FILTER (behind) AS behind,
       arg_min(lead, (lead.value, most)) AS "smallest lead", arg_min(most, (lead.value, most)) AS "at tokens",
       arg_max(lead, (lead.value, -most)) AS "largest lead", arg_max(most, (lead.value, -most)) AS "at its tokens",
       CASE WHEN count(*) FILTER (ahead) = count(*) THEN 'ahead at every limit'
            WHEN count(*) FILTER (behind) > 0 THEN 'behind at some limits'
            WHEN count(*) FILTER (ahead) > 0 THEN 'ahead at some limits, behind at none'
            ELSE 'no difference shown' END AS verdict
FROM told GROUP BY experiment, title, against, position ORDER BY position
