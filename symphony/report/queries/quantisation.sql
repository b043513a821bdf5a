-- title: What quantisation changes in the models
-- mirrors: no counterpart (SYMPHONY-S ran quantised models without saying what that changes)
-- caption: Of each quantised checkpoint: size of its weight files before and after. Then, at the tokens that the unquantised model answers to a few prompts of every task: error of the logits (norm of the difference over norm), share of tokens that stay the most probable ones ("same best token"), and perplexity (1: every token certain) of both models. Text perplexity: over a page of plain text, dialogue and code that ships with the project (the embedded models know no English, and are lost there). Load seconds: of the quantised checkpoint. Peak: the most memory that a process of its own held, libraries included (on a GPU: tensors alone), while it loaded the model and answered. Tokens a second: batched generation on the machine that quantised, one thread.
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
