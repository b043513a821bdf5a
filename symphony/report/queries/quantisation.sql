-- title: What quantisation changes
-- mirrors: nothing in the paper (SYMPHONY-S ran quantised models without saying what that changes)
-- caption: Of each quantised checkpoint, as its manifest measured it: size of the weight files before and after, relative error of the logits (norm of the difference over norm), share of positions with the same most probable token, and success where it was measured. "–" where the manifest does not say.
WITH wide AS (
    SELECT position, checkpoint, map_from_entries(list((key, value))) AS m FROM quantised GROUP BY ALL
)
SELECT checkpoint, m['scheme'] AS scheme, TRY_CAST(m['source_bytes'] AS BIGINT) / 1e6 AS "MB before",
       TRY_CAST(m['target_bytes'] AS BIGINT) / 1e6 AS "MB after",
       TRY_CAST(m['target_bytes'] AS DOUBLE) / TRY_CAST(m['source_bytes'] AS DOUBLE) AS "size ratio",
       TRY_CAST(m['relative_logit_error'] AS DOUBLE) AS "logit error", TRY_CAST(m['top1_agreement'] AS DOUBLE) AS "top-1 agreement",
       TRY_CAST(m['success_before'] AS DOUBLE) AS "success before", TRY_CAST(m['success_after'] AS DOUBLE) AS "success after"
FROM wide ORDER BY position
