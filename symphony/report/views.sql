-- What the other queries stand on. `methods` (from the plan) and `quantised` (from manifests) exist already.

-- One row a problem of a run. `cluster` is what the bootstrap draws: two runs with the same data set digest met the
-- same problems, so their rows belong together; seeds that generate their own problems have digests of their own.
CREATE TEMP VIEW outcomes AS
SELECT r.experiment, m.title, m.position, m.reference, r.task, r.seed, r.dataset, r.search, r.scheduler, r.scorer,
       r.memory, r.pool, r.agents, r.feedback, r.commit, p.*,
       r.task || '|' || r.dataset || '|' || p.problem AS cluster
FROM problems p JOIN runs r USING (run) JOIN methods m USING (experiment);

-- Every outcome twice: under its task, and under all tasks together.
CREATE TEMP VIEW cells AS
SELECT *, task AS block, 0 AS block_position FROM outcomes
UNION ALL
SELECT *, 'all tasks' AS block, 1 AS block_position FROM outcomes;

-- Each method's problem beside the reference's same problem (same task, data, seed).
CREATE TEMP VIEW pairs AS
SELECT c.*, s.success AS reference_success, s.score AS reference_score
FROM cells c JOIN outcomes s
  ON s.reference AND NOT c.reference AND c.task = s.task AND c.dataset = s.dataset AND c.seed = s.seed
 AND c.problem = s.problem;

-- One row an experiment: what it is made of.
CREATE TEMP VIEW designs AS
SELECT experiment, any_value(title) AS title, any_value(position) AS position, any_value(reference) AS reference,
       string_agg(DISTINCT search, ', ' ORDER BY search) AS search,
       string_agg(DISTINCT scheduler, ', ' ORDER BY scheduler) AS scheduler,
       string_agg(DISTINCT scorer, ', ' ORDER BY scorer) AS scorer,
       string_agg(DISTINCT memory, ', ' ORDER BY memory) AS memory,
       string_agg(DISTINCT pool, ', ' ORDER BY pool) AS pool,
       any_value(agents) AS agents
FROM outcomes GROUP BY experiment;

-- Success of an experiment in a block, and what it loses against the reference on the same problems.
CREATE TEMP VIEW success_cells AS
SELECT experiment, block, count(*) AS n, wilson(count(*) FILTER (success), count(*)) AS success,
       bootstrap(list(score ORDER BY cluster, seed), list(cluster ORDER BY cluster, seed)) AS score
FROM cells GROUP BY experiment, block;

CREATE TEMP VIEW paired_cells AS
SELECT experiment, block, any_value(block_position) AS block_position, count(*) AS pairs,
       bootstrap(list(success::INT - reference_success::INT ORDER BY cluster, seed),
                 list(cluster ORDER BY cluster, seed)) AS success_difference,
       count(*) FILTER (success AND NOT reference_success) AS only_method,
       count(*) FILTER (reference_success AND NOT success) AS only_reference,
       mcnemar(count(*) FILTER (success AND NOT reference_success),
               count(*) FILTER (reference_success AND NOT success)) AS p,
       bootstrap(list(score - reference_score ORDER BY cluster, seed), list(cluster ORDER BY cluster, seed))
           AS score_difference
FROM pairs GROUP BY experiment, block;
