-- The searches of some runs ($runs), one row per problem: its run, its id, and all that its page shows as one JSON object.
-- A node has no record of the call that proposed it. `made` is the number of calls after which it exists: that of the first
-- call by its agent for its parent whose text holds the action, else of the call that is as many calls after the first as
-- the node is after the first node of that agent there, else of the first call of its iteration; 0 for what precedes any.
WITH asked AS (
    SELECT *, row_number() OVER (PARTITION BY run, problem, node, iteration, agent ORDER BY call) AS rank
    FROM calls WHERE run IN (SELECT unnest($runs)) AND phase IN ('expand', 'sim_expand')
), proposed AS (
    SELECT *, row_number() OVER (PARTITION BY run, problem, parent, iteration, agent ORDER BY node) AS rank
    FROM nodes WHERE run IN (SELECT unnest($runs)) AND parent IS NOT NULL
), matched AS (
    SELECT p.run, p.problem, p.node,
           coalesce(min(a.call) FILTER (contains(a.text, p.action)), min(a.call) FILTER (a.rank = p.rank), max(a.call)) AS call
    FROM proposed p JOIN asked a
      ON a.run = p.run AND a.problem = p.problem AND a.node = p.parent AND a.iteration = p.iteration AND a.agent = p.agent
    GROUP BY p.run, p.problem, p.node
), began AS (
    SELECT run, problem, iteration, min(call) AS call FROM calls WHERE run IN (SELECT unnest($runs)) GROUP BY ALL
), made AS (
    SELECT n.run, n.problem, n.node, CASE WHEN n.parent IS NULL THEN 0 ELSE coalesce(m.call + 1, b.call + 1, 0) END AS made
    FROM nodes n LEFT JOIN matched m USING (run, problem, node)
    LEFT JOIN began b ON b.run = n.run AND b.problem = n.problem AND b.iteration = n.iteration
    WHERE n.run IN (SELECT unnest($runs))
), ranked_picks AS (
    SELECT *, row_number() OVER (PARTITION BY run, problem, iteration, node, phase, agent ORDER BY pick) AS rank
    FROM picks WHERE run IN (SELECT unnest($runs))
), ranked_calls AS (
    SELECT *, row_number() OVER (PARTITION BY run, problem, iteration, node, phase, agent ORDER BY call) AS rank
    FROM calls WHERE run IN (SELECT unnest($runs))
), node_lists AS (
    SELECT run, problem, list({
        node: node, parent: parent, depth: depth, made: made, origin: origin, agent: agent, iteration: iteration,
        thought: thought, action: action, observation: observation, value: value, confidence: confidence, prior: prior,
        fallback: fallback, visits: visits, value_sum: value_sum, reward: reward, terminal: terminal, solved: solved,
        invalid: invalid, closed: closed
    } ORDER BY node) AS rows
    FROM nodes JOIN made USING (run, problem, node) WHERE run IN (SELECT unnest($runs)) GROUP BY run, problem
), call_lists AS (
    SELECT c.run, c.problem, list({
        call: c.call, pick: p.pick, iteration: c.iteration, node: c.node, phase: c.phase, draw: c.draw, agent: c.agent,
        temperature: c.temperature, seed: c.seed::VARCHAR, prompt: c.prompt, dropped_lessons: c.dropped_lessons,
        dropped_shots: c.dropped_shots, prompt_tokens: c.prompt_tokens, completion_tokens: c.completion_tokens,
        cost: c.cost, finish_reason: c.finish_reason, text: c.text, error: c.error
    } ORDER BY c.call) AS rows
    FROM ranked_calls c LEFT JOIN ranked_picks p USING (run, problem, iteration, node, phase, agent, rank)
    GROUP BY c.run, c.problem
), pick_lists AS (
    SELECT run, problem, list({
        pick: pick, iteration: iteration, node: node, phase: phase, agent: agent, counts: counts, means: means,
        bonuses: bonuses
    } ORDER BY pick) AS rows
    FROM picks WHERE run IN (SELECT unnest($runs)) GROUP BY run, problem
), lesson_lists AS (
    SELECT run, problem, list({
        reflection: reflection, iteration: iteration, node: node, agent: agent, text: text
    } ORDER BY reflection) AS rows
    FROM reflections WHERE run IN (SELECT unnest($runs)) GROUP BY run, problem
), answer_lists AS (
    SELECT run, problem, list({calls: calls, tokens: tokens, node: node, success: success, score: score} ORDER BY calls) AS rows
    FROM answers WHERE run IN (SELECT unnest($runs)) GROUP BY run, problem
)
SELECT p.run, p.problem, to_json({
    run: p.run, problem: p.problem, index: p.index, kind: p.kind, success: p.success, score: p.score, detail: p.detail,
    stop_reason: p.stop_reason, iterations: p.iterations, prompt_tokens: p.prompt_tokens,
    completion_tokens: p.completion_tokens, cost: p.cost, answer_node: p.answer_node,
    answers: coalesce(a.rows, []), nodes: coalesce(n.rows, []), calls: coalesce(c.rows, []), picks: coalesce(k.rows, []),
    lessons: coalesce(l.rows, [])
})::VARCHAR
FROM problems p
LEFT JOIN answer_lists a USING (run, problem)
LEFT JOIN node_lists n USING (run, problem)
LEFT JOIN call_lists c USING (run, problem)
LEFT JOIN pick_lists k USING (run, problem)
LEFT JOIN lesson_lists l USING (run, problem)
WHERE p.run IN (SELECT unnest($runs))
ORDER BY p.run, p.index
