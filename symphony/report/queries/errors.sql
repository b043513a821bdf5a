-- title: Calls that failed, and why
-- mirrors: no counterpart
-- caption: For each method and agent: the calls that got no answer, by kind (the word before the colon; docs/models.md explains each), their share of all calls of that agent under the method, and the most frequent reason. An endpoint that stopped answering appears as kind "breaker". The table is empty if no call failed.
WITH told AS (
    SELECT o.title, o.position, c.agent, split_part(c.error, ':', 1) AS kind, c.error
    FROM calls c JOIN outcomes o USING (run, problem)
),
every AS (SELECT title, agent, count(*) AS calls FROM told GROUP BY ALL)
SELECT title AS method, agent, kind, count(*) AS calls, count(*) / any_value(every.calls) AS share, mode(error) AS reason
FROM told JOIN every USING (title, agent) WHERE error IS NOT NULL
GROUP BY title, agent, kind ORDER BY any_value(position), agent, kind
