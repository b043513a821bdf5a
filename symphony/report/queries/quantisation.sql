-- title: What quantisation changes in the models
-- mirrors: no counterpart (SYMPHONY-S ran quantised models without saying what that changes)
-- caption: For each quantised checkpoint: the size of its weight files before and after. Then, at the tokens that the unquantised model answers to a few prompts of every task: the error of the logits (norm of the difference divided by the norm), the share of tokens that remain the most probable ones ("same best token"), and the perplexity of both models (1 means that every token is certain). Text perplexity is measured on a page of plain text, dialogue and code that ships with the project (the embedded models know no English and do badly on it). Load seconds are those of the quantised checkpoint. Peak is the most memory that a separate process held, libraries included (on a GPU only tensors), while it loaded the model and answered. Tokens a second are for batched generation with one thread, on the machine that quantised.
WITH wide AS (
    SELECT position, checkpoint, map_from_entries(list((key, value))) AS m FROM quantised GROUP BY ALL
)
SELECT checkpoint, m['scheme'] AS scheme, TRY_CAST(m['source_bytes'] AS BIGINT) / 1e6 AS "MB before",
       TRY_CAST(m['target_bytes'] AS BIGINT) / 1e6 AS "MB after",
       TRY_CAST(m['target_bytes'] AS DOUBLE) / TRY_CAST(m['source_bytes'] AS DOUBLE) AS "size ratio",
       TRY_CAST(m['relative_logit_error'] AS DOUBLE) AS "logit error", TRY_CAST(m['top1_agreement'] AS DOUBLE) AS "same best token",
       TRY_CAST(m['perplexity_before'] AS DOUBLE) AS "perplexity before",
       TRY_CAST(m['perplexity_after'] AS DOUBLE) AS "perplexity after",
       TRY_CAST(m['text_perplexity_before'] AS DOUBLE) AS "text perplexity before",
       TRY_CAST(m['text_perplexity_after'] AS DOUBLE) AS "text perplexity after",
       TRY_CAST(m['load_seconds'] AS DOUBLE) AS "load seconds",
       TRY_CAST(m['peak_memory_before'] AS DOUBLE) / 1e6 AS "peak MB before",
       TRY_CAST(m['peak_memory_after'] AS DOUBLE) / 1e6 AS "peak MB after",
       TRY_CAST(m['tokens_per_second_before'] AS DOUBLE) AS "tokens/s before",
       TRY_CAST(m['tokens_per_second_after'] AS DOUBLE) AS "tokens/s after"
FROM wide ORDER BY position
