-- What the other queries stand on. `methods` (from the plan) and `quantised` (from manifests) exist already.

-- Statistics of a group of rows (`symphony.report.stats`). `cluster` is the problem that a row is of; a value that is NULL
-- does not count. Ordered, so that equal records give equal digits.
CREATE TEMP MACRO rate(value, cluster) AS
    rate_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
            list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));
CREATE TEMP MACRO average(value, cluster) AS
    average_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
               list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));
CREATE TEMP MACRO difference(value, cluster) AS
    difference_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
                  list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));
CREATE TEMP MACRO signflip(value, cluster) AS
    signflip_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
                list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));

CREATE TEMP MACRO needed(value, cluster) AS
    needed_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
              list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));

CREATE TEMP MACRO deviation(value, cluster) AS
    deviation_of(list(value::DOUBLE ORDER BY cluster, value) FILTER (value IS NOT NULL),
                 list(cluster ORDER BY cluster, value) FILTER (value IS NOT NULL));
CREATE TEMP MACRO contrast(value, cluster, chosen) AS
    contrast_of(list(value::DOUBLE ORDER BY cluster, value, chosen) FILTER (value IS NOT NULL),
                list(cluster ORDER BY cluster, value, chosen) FILTER (value IS NOT NULL),
                list(chosen ORDER BY cluster, value, chosen) FILTER (value IS NOT NULL));

-- One row per problem of a run. `cluster` is the problem. Runs with the same data set digest met the same problems, so their
-- rows belong together: those of all methods, of seeds that repeat them, and of tasks that differ only in what a search is
-- shown (mbpp_py_first_assert and mbpp_py_hidden_asserts). A seed that generates its own problems has a digest of its own.
-- `cut_short`: ended by the budget of its run or study, so that it had less to spend than its own budget says.
-- An experiment that stands apart (it covers other seeds, say) is in its own table and nowhere else.
CREATE TEMP VIEW all_outcomes AS
SELECT r.experiment, m.title, m.position, m.reference, m.apart, m.against, r.task, r.seed, r.dataset, r.search, r.scheduler, r.scorer,
       r.memory, r.pool, r.agents, r.feedback, r.commit, r.call_limit, r.token_limit, p.*,
       r.dataset || '|' || p.problem AS cluster,
       starts_with(p.stop_reason, 'run_') OR starts_with(p.stop_reason, 'study_') AS cut_short
FROM problems p JOIN runs r USING (run) JOIN methods m USING (experiment);

CREATE TEMP VIEW outcomes AS SELECT * EXCLUDE (apart, against) FROM all_outcomes WHERE NOT apart;

-- Every outcome twice: under its task, and under all tasks together.
CREATE TEMP VIEW cells AS
SELECT *, task AS block, 0 AS block_position FROM outcomes
UNION ALL
SELECT *, 'all tasks' AS block, 1 AS block_position FROM outcomes;

-- What was asked for a problem: equal for searches that made the same calls and got answers of the same lengths.
CREATE TEMP VIEW traces AS
SELECT run, problem, bit_xor(hash(call, phase, node, agent, prompt_tokens, completion_tokens)) AS trace
FROM calls GROUP BY run, problem;

-- Each method's problem beside the reference's same problem (same task, data, seed).
CREATE TEMP VIEW pairs AS
SELECT c.*, s.success AS reference_success, s.score AS reference_score, s.run AS reference_run
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
SELECT experiment, block, count(*) AS n, count(DISTINCT cluster) AS problems, rate(success, cluster) AS success, rate(score, cluster) AS score
FROM cells GROUP BY experiment, block;

CREATE TEMP VIEW paired_cells AS
SELECT experiment, block, any_value(block_position) AS block_position, count(*) AS pairs,
       count(DISTINCT cluster) AS problems,
       difference(success::INT - reference_success::INT, cluster) AS success_difference,
       count(*) FILTER (success AND NOT reference_success) AS only_method,
       count(*) FILTER (reference_success AND NOT success) AS only_reference,
       signflip(success::INT - reference_success::INT, cluster) AS p,
       difference(score - reference_score, cluster) AS score_difference,
       avg((t.trace IS NOT DISTINCT FROM u.trace)::INT) AS same_calls
FROM pairs p
LEFT JOIN traces t ON t.run = p.run AND t.problem = p.problem
LEFT JOIN traces u ON u.run = p.reference_run AND u.problem = p.problem
GROUP BY experiment, block;

-- Success of an experiment in a block under smaller limits of calls and tokens, in 24 steps up to the whole: the largest
-- limit of the study, or the most that was spent where a problem had none.
CREATE TEMP VIEW anytime_answers AS
WITH wholes AS (
    SELECT 'tokens' AS measure, max(coalesce(token_limit, prompt_tokens + completion_tokens)) AS whole FROM outcomes
    UNION ALL SELECT 'calls', max(coalesce(call_limit, calls)) FROM outcomes
),
limits AS (SELECT measure, whole, step, whole * step // 24 AS most FROM wholes, range(25) AS steps(step))
SELECT run, problem, l.measure, step, whole, most, arg_max(a.success, a.calls) AS success
FROM answers a JOIN limits l ON CASE l.measure WHEN 'tokens' THEN a.tokens ELSE a.calls END <= l.most
GROUP BY ALL;

CREATE TEMP VIEW anytime_cells AS
SELECT experiment, any_value(title) AS title, any_value(position) AS position, block,
       any_value(block_position) AS block_position, measure, step, whole, most, count(*) AS n,
       rate(f.success, cluster) AS success
FROM cells JOIN anytime_answers f USING (run, problem) GROUP BY experiment, block, measure, step, whole, most;

-- What each method is compared with: the reference or, where the method saw other feedback, the reference's variant with
-- that feedback.
CREATE TEMP VIEW counterparts AS
WITH variants AS (SELECT DISTINCT experiment, feedback, position, reference FROM outcomes)
SELECT v.experiment, v.feedback, arg_min(k.experiment, (NOT k.reference, k.position)) AS against
FROM variants v JOIN variants k USING (feedback)
JOIN (SELECT experiment FROM methods WHERE reference) r
  ON split_part(k.experiment, '[', 1) = split_part(r.experiment, '[', 1)
GROUP BY v.experiment, v.feedback;

-- What the counterpart of each method solves more under each limit of tokens from 1,000 on, over all tasks, on the same
-- problems.
CREATE TEMP VIEW leads AS
WITH compared AS (
    SELECT o.experiment, any_value(o.title) AS title, any_value(o.position) AS position, any_value(s.title) AS against,
           step, most, count(*) AS n, rate(f.success, o.cluster) AS success, rate(g.success, o.cluster) AS reference_success,
           difference(g.success::INT - f.success::INT, o.cluster) AS lead,
           signflip(g.success::INT - f.success::INT, o.cluster) AS p
    FROM outcomes o JOIN counterparts c USING (experiment, feedback)
    JOIN outcomes s ON s.experiment = c.against AND s.feedback = o.feedback AND s.task = o.task AND s.dataset = o.dataset
         AND s.seed = o.seed AND s.problem = o.problem
    JOIN anytime_answers f ON f.run = o.run AND f.problem = o.problem
    JOIN anytime_answers g USING (measure, step, most)
    WHERE g.run = s.run AND g.problem = s.problem AND measure = 'tokens' AND most >= 1000 AND c.against <> o.experiment
    GROUP BY o.experiment, step, most
)
SELECT * FROM compared JOIN (
    SELECT experiment, unnest(list(step ORDER BY step)) AS step, unnest(holm_of(list(p ORDER BY step))) AS holm
    FROM compared GROUP BY experiment
) USING (experiment, step);

-- The same over all tasks, of one experiment a search: the reference, else the first of the study.
CREATE TEMP VIEW anytime_curves AS
WITH first AS (SELECT arg_min(experiment, (NOT reference, position)) AS experiment FROM designs GROUP BY search)
SELECT title AS method, measure, step, most, success
FROM anytime_cells JOIN first USING (experiment) WHERE block = 'all tasks' ORDER BY position, measure, step;

-- The share of the calls in each iteration of a method that each agent answered. Late iterations include only the problems
-- that were not solved before.
CREATE TEMP VIEW agents_over_time AS
WITH told AS (
    SELECT o.experiment, o.title, o.position, o.agents, c.agent, c.iteration, c.run || '|' || c.problem AS item
    FROM calls c JOIN outcomes o USING (run, problem) WHERE len(o.agents) > 1
),
grid AS (
    SELECT experiment, iteration, any_value(title) AS title, any_value(position) AS position, count(*) AS all_calls,
           count(DISTINCT item) AS problems, unnest(any_value(agents)) AS agent
    FROM told GROUP BY experiment, iteration
),
counted AS (SELECT experiment, iteration, agent, count(*) AS calls FROM told GROUP BY ALL),
ranked AS (SELECT DISTINCT experiment, agents FROM told)
SELECT title AS method, iteration, agent, problems, coalesce(calls, 0) AS calls, coalesce(calls, 0) / all_calls AS share
FROM grid LEFT JOIN counted USING (experiment, iteration, agent) JOIN ranked USING (experiment)
ORDER BY position, iteration, list_position(agents, agent);

-- Nodes that led to success: solved, the graded answer of a success, or on the way to one of these.
CREATE TEMP VIEW reached AS
WITH RECURSIVE up AS (
    SELECT run, problem, node FROM nodes WHERE solved
    UNION
    SELECT run, problem, answer_node AS node FROM problems WHERE success
    UNION
    SELECT n.run, n.problem, n.parent AS node FROM up JOIN nodes n USING (run, problem, node) WHERE n.parent IS NOT NULL
)
SELECT run, problem, node, true AS good FROM up;

-- The calls that judged a node. A call about several siblings is recorded at the first of them.
CREATE TEMP VIEW evaluations AS
WITH own AS (
    SELECT run, problem, node, call, agent, text FROM calls
    WHERE phase IN ('evaluate', 'sim_evaluate') AND error IS NULL
),
others AS (SELECT run, problem, node, parent FROM nodes ANTI JOIN own USING (run, problem, node) WHERE value IS NOT NULL),
shared AS (
    SELECT o.run, o.problem, o.node, c.call, c.agent, c.node AS first
    FROM others o JOIN nodes s ON s.run = o.run AND s.problem = o.problem AND s.parent = o.parent AND s.node < o.node
    JOIN own c ON c.run = s.run AND c.problem = s.problem AND c.node = s.node
    WHERE about_siblings(c.text)
)
SELECT run, problem, node, call, agent FROM own
UNION ALL
(SELECT run, problem, node, call, agent FROM shared QUALIFY first = max(first) OVER (PARTITION BY run, problem, node));

-- One row an evaluated node: who judged it (the last one asked; nobody where the scorer drew the value by chance), Z and
-- C, R = Z (1 - E(C)), how the search treated it, and what became of it.
CREATE TEMP VIEW judgements AS
WITH last AS (
    SELECT run, problem, node, arg_max(agent, call) AS agent FROM evaluations GROUP BY ALL
)
SELECT o.experiment, o.task, o.cluster, o.seed, run, problem, node, n.parent, n.iteration, n.origin,
       CASE WHEN o.scorer = 'random' THEN 'random scores' ELSE l.agent END AS agent, n.fallback, n.visits,
       w.node IS NOT NULL AS went_on,
       n.value AS z, n.confidence AS c,
       n.value * (1 + CASE WHEN n.confidence IN (0, 1) THEN 0
                      ELSE n.confidence * ln(n.confidence) + (1 - n.confidence) * ln(1 - n.confidence) END) AS r,
       coalesce(h.good, false) AS good
FROM last l JOIN nodes n USING (run, problem, node) JOIN outcomes o USING (run, problem)
LEFT JOIN reached h USING (run, problem, node)
LEFT JOIN (SELECT DISTINCT run, problem, parent AS node FROM nodes WHERE parent IS NOT NULL) w USING (run, problem, node)
WHERE n.value IS NOT NULL;

-- One row an experiment and benchmark of the paper, over its runs with the paper's feedback. `diverse`: expansions of four
-- draws or more that brought four different actions. `largest`: the largest share of a problem's calls that one agent answered.
CREATE TEMP VIEW paper_cells AS
WITH played AS (
    SELECT o.*, benchmark FROM outcomes o JOIN (VALUES
        ('hotpotqa', 'HotpotQA'), ('hotpotqa_context', 'HotpotQA'), ('hotpotqa_fullwiki', 'HotpotQA'), ('hotpotqa_official', 'HotpotQA'),
        ('webshop', 'WebShop'), ('webshop_full', 'WebShop'), ('webshop_official', 'WebShop'), ('webshop_sample', 'WebShop'),
        ('mbpp_py', 'MBPP Python'), ('mbpp_py_upstream', 'MBPP Python'), ('mbpp_py_hidden_asserts', 'MBPP Python'),
        ('mbpp_rs', 'MBPP Rust'), ('mbpp_rs_upstream', 'MBPP Rust')) AS named(task, benchmark) USING (task)
    WHERE feedback = 'oracle'
),
wide AS (
    SELECT run, problem, node, iteration FROM calls WHERE phase = 'expand' GROUP BY ALL HAVING count(*) >= 4
),
branches AS (
    SELECT p.experiment, p.benchmark, p.cluster, count(DISTINCT n.action) >= 4 AS four
    FROM wide w JOIN played p USING (run, problem)
    LEFT JOIN nodes n ON n.run = w.run AND n.problem = w.problem AND n.parent = w.node AND n.iteration = w.iteration AND n.origin = 'expand'
    GROUP BY p.experiment, p.benchmark, p.cluster, w.run, w.problem, w.node, w.iteration
),
various AS (SELECT experiment, benchmark, rate(four, cluster) AS diverse FROM branches GROUP BY ALL),
asked AS (
    SELECT p.experiment, p.benchmark, p.cluster, p.run, p.problem, c.agent, count(*) AS calls
    FROM calls c JOIN played p USING (run, problem) WHERE len(p.agents) > 1 GROUP BY ALL
),
totals AS (SELECT experiment, benchmark, arg_max(agent, calls) AS agent FROM
           (SELECT experiment, benchmark, agent, sum(calls) AS calls FROM asked GROUP BY ALL) GROUP BY ALL),
shares AS (
    SELECT a.experiment, a.benchmark, a.cluster, sum(a.calls) FILTER (a.agent = t.agent) / sum(a.calls) AS share
    FROM asked a JOIN totals t USING (experiment, benchmark) GROUP BY a.experiment, a.benchmark, a.cluster, a.run, a.problem
),
favoured AS (SELECT experiment, benchmark, rate(coalesce(share, 0), cluster) AS largest FROM shares GROUP BY ALL)
SELECT p.*, d.diverse, l.largest FROM (
    SELECT experiment, benchmark, string_agg(DISTINCT pool, ', ' ORDER BY pool) AS pool, count(*) AS n, rate(success, cluster) AS success,
           rate(score, cluster) AS score, average(prompt_tokens + completion_tokens, cluster) AS tokens,
           average(nodes_tree + nodes_simulated, cluster) AS nodes
    FROM played GROUP BY experiment, benchmark
) p LEFT JOIN various d USING (experiment, benchmark) LEFT JOIN favoured l USING (experiment, benchmark);
