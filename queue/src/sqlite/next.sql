-- Whose turn it is: the highest priority, then the job that has the fewest messages in hand, then the
-- one that was served longest ago; of its messages the oldest. ?1 is the topics as JSON, ?2 is now.
--
-- Reads the index entry of every message that waits: with 10,000 of them 7 ms for one job, 21 ms for
-- as many jobs.
WITH waiting AS (
    SELECT priority, job, min(id) AS id FROM message
    WHERE topic IN (SELECT value FROM json_each(?1)) AND visible_at <= ?2
    GROUP BY priority, job
), in_hand AS MATERIALIZED (
    SELECT job, count(*) AS messages FROM message
    WHERE consumer IS NOT NULL AND visible_at > ?2
    GROUP BY job
), next AS (
    SELECT waiting.id FROM waiting
        LEFT JOIN in_hand USING (job)
        LEFT JOIN turn USING (job)
    ORDER BY priority DESC, coalesce(in_hand.messages, 0), coalesce(served, 0), waiting.id
    LIMIT 1
)
SELECT message.id, delivery + 1, key, payload, topic FROM next JOIN message USING (id);
