-- What commits leave behind goes, and what is needed stays.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS streamhouse;
CREATE EXTENSION streamhouse;
RESET client_min_messages;

-- where there is nothing, nothing is done, and nobody need ask for groups often
SELECT sh_prune(), sh_group_step();

-- of a producer's rows the newest stays, wherever the sweep's windows end, until it is too old
SET streamhouse.reap_rows_max = 4;
INSERT INTO streamhouse.producer
SELECT 900001, p, i, n, 0, '{0}', '{0}', '{0}', CASE WHEN i = 3 THEN now() - interval '2 days' ELSE now() END
FROM generate_series(0, 1) AS p, generate_series(1, 3) AS i, generate_series(1, 7) AS n;
SELECT sh_prune() AS more;
DO $$ BEGIN FOR i IN 1 .. 30 LOOP PERFORM sh_prune(); END LOOP; END $$;
SELECT partition, producer_id, array_agg(end_offset) FROM streamhouse.producer GROUP BY 1, 2 ORDER BY 1, 2;
SELECT sh_prune() AS more;

-- answers are kept for their time, those of inline commits too, whose ids fall while they get younger
INSERT INTO streamhouse.commit_answer SELECT n, 0, '{0}', '{committed}', '{0}', '{7}', now() - (10 - n) * interval '20 minutes' FROM generate_series(1, 9) AS n;
INSERT INTO streamhouse.commit_answer SELECT -n, 0, '{0}', '{committed}', '{0}', '{7}', now() - (10 - n) * interval '20 minutes' FROM generate_series(1, 9) AS n;
SELECT sh_prune() AS more;
SELECT array_agg(object_id ORDER BY object_id) FROM streamhouse.commit_answer;
SELECT sh_prune() AS more;
SELECT array_agg(object_id ORDER BY object_id) FROM streamhouse.commit_answer;
SELECT sh_prune() AS more;

-- a block of calls that were answered at once is forgotten, and only that
SELECT sh_reserve_inline() AS first \gset
INSERT INTO streamhouse.commit_answer SELECT -n, 0, '{0}', '{committed}', '{0}', '{7}', now() FROM (VALUES (:first - 1), (:first), (:first + 5), (:first + 1023), (:first + 1024)) AS v (n);
SELECT sh_forget_inline(:first);
SELECT array_agg(-object_id - :first ORDER BY object_id DESC) FROM streamhouse.commit_answer WHERE object_id NOT BETWEEN -9 AND 9 OR object_id = 1 - :first;

-- one notice for each agent is enough
INSERT INTO streamhouse.lease_notice (agent_id) VALUES (1), (2), (1), (1);
SELECT sh_prune() AS more;
SELECT array_agg(agent_id ORDER BY agent_id) FROM streamhouse.lease_notice;
