-- title: Branch diversity of the expansions
-- mirrors: Figure 2; Figure 5 in the study diversity
-- caption: Of the expansions of the tree with n draws (n is the method's most frequent number), the columns "4 distinct" to "1 distinct" give the share with that many distinct outputs (4 stands for 4 or more). "Text" compares completions in lower case with white space collapsed. "Action" compares the parsed actions of the children; a draw that could not be parsed adds none. The success of the same method is shown beside it.
WITH draws AS (
    SELECT o.experiment, c.run, c.problem, c.node, c.iteration, c.draw,
           trim(regexp_replace(lower(c.text), '\s+', ' ', 'g')) AS text,
           row_number() OVER (PARTITION BY c.run, c.problem, c.node, c.iteration ORDER BY c.draw) AS nth,
           count(*) OVER (PARTITION BY c.run, c.problem, c.node, c.iteration) AS drawn
    FROM calls c JOIN outcomes o USING (run, problem) WHERE c.phase = 'expand'
),
widths AS (SELECT experiment, mode(drawn) AS n FROM draws WHERE nth = 1 GROUP BY experiment),
texts AS (
    SELECT experiment, run, problem, node, iteration, any_value(n) AS n, count(DISTINCT text) AS text
    FROM draws JOIN widths USING (experiment) WHERE drawn >= n AND nth <= n
    GROUP BY experiment, run, problem, node, iteration
),
children AS (
    SELECT run, problem, parent AS node, iteration, count(DISTINCT action) AS action
    FROM nodes WHERE origin = 'expand' GROUP BY run, problem, parent, iteration
),
expansions AS (
    SELECT texts.*, least(n, coalesce(action, 0)) AS action
    FROM texts LEFT JOIN children USING (run, problem, node, iteration) WHERE n >= 2
),
long AS (UNPIVOT expansions ON text, action INTO NAME definition VALUE distinct_outputs)
SELECT d.title AS method, len(d.agents) AS models, array_to_string(d.agents, ' + ') AS pool, definition AS "distinct by",
       any_value(long.n) AS n, count(*) AS expansions,
       avg((distinct_outputs >= 4)::INT) AS "4 distinct", avg((distinct_outputs = 3)::INT) AS "3 distinct",
       avg((distinct_outputs = 2)::INT) AS "2 distinct", avg((distinct_outputs = 1)::INT) AS "1 distinct",
       avg((distinct_outputs = 0)::INT) AS "none parsed", avg(distinct_outputs) AS "mean distinct",
       any_value(s.success.value) AS success
FROM long JOIN designs d USING (experiment) JOIN success_cells s ON s.experiment = d.experiment AND s.block = 'all tasks'
GROUP BY d.experiment, d.title, d.agents, d.position, definition ORDER BY definition DESC, d.position
