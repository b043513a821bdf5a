-- title: What the memory was used for
-- mirrors: no counterpart (the evidence behind the paper's ablation of the memory)
-- caption: Lessons written about a problem, and the share of expansions and evaluations whose prompt carried one (a private memory shows an agent only its own lessons; lessons that outlive their question are not counted). A problem gets a lesson only after a failure, so problems with lessons are the harder ones. The fair comparison, made for the reference, is with the same method without memory on the same problems (both do the same until the first lesson). The result is a paired difference with a 95 % interval from the spread between problems; a positive difference means that the lessons help.
WITH learned AS (
    SELECT l.run, l.problem, l.agent, min(c.call) AS call
    FROM reflections l JOIN calls c USING (run, problem, node, agent) WHERE c.phase = 'reflect' GROUP BY ALL
),
used AS (
    SELECT c.run, c.problem, c.call,
           bool_or(l.call IS NOT NULL AND l.call < c.call AND (o.memory <> 'private' OR l.agent = c.agent)) AS carried
    FROM calls c JOIN outcomes o USING (run, problem) LEFT JOIN learned l USING (run, problem)
    WHERE c.phase <> 'reflect' GROUP BY ALL
),
written AS (SELECT run, problem, count(*) AS lessons FROM reflections GROUP BY ALL),
carried AS (SELECT run, problem, count(*) AS prompts, count(*) FILTER (carried) AS carrying FROM used GROUP BY ALL),
bare AS (
    SELECT d.experiment FROM designs d, designs r
    WHERE r.reference AND d.memory = 'none' AND d.search = r.search AND d.scheduler = r.scheduler
      AND d.scorer = r.scorer AND d.pool = r.pool ORDER BY d.position LIMIT 1
),
told AS (
    SELECT o.*, coalesce(lessons, 0) AS lessons, prompts, carrying, b.success AS bare
    FROM outcomes o LEFT JOIN written USING (run, problem) LEFT JOIN carried USING (run, problem)
    LEFT JOIN outcomes b ON o.reference AND b.experiment = (SELECT experiment FROM bare) AND b.task = o.task AND b.dataset = o.dataset
                        AND b.seed = o.seed AND b.problem = o.problem
    WHERE o.memory <> 'none'
)
SELECT any_value(title) AS method, any_value(memory) AS memory, count(*) AS n, avg(lessons) AS "lessons per problem",
       avg((lessons > 0)::INT) AS "problems with a lesson", sum(carrying) / nullif(sum(prompts), 0) AS "calls with a lesson",
       rate(CASE WHEN lessons = 0 THEN success END, cluster) AS "success without a lesson",
       rate(CASE WHEN lessons > 0 THEN success END, cluster) AS "success with a lesson",
       count(*) FILTER (lessons > 0 AND bare IS NOT NULL) AS "pairs with a lesson",
       avg(bare::INT) FILTER (lessons > 0) AS "same problems, no memory",
       difference(CASE WHEN lessons > 0 THEN success::INT - bare::INT END, cluster) AS "difference"
FROM told GROUP BY experiment ORDER BY any_value(position)
