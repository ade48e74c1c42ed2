"""The SQL of durable messages on PostgreSQL. Like ``statements``: whatever is written is fenced by the lane's row.

What is due is found through ``jido_inbox_due`` and ``jido_inbox_taken``: the work follows what is due, not what waits.
"""

from __future__ import annotations

from .link import Statement
from .messages import VISIBILITY
from .statements import APPEND_ROWS, COLUMNS, HEAD, LANE, VALUES, arrays

_VISIBLE = f"interval '{VISIBILITY} seconds'"
_NOW = "(clock_timestamp() + make_interval(secs => {skew}::float8))"

# An append that changes messages: per place in the batch, all of its rows and changes or none. First it is looked which of the
# messages that rows apply are still there, and they are locked; a place that misses one is left out as if the fence refused it.
# $1 lane, $2 format, $3 skew, $4.. heads (place, object, seq, epoch, destroyed), $9.. creations (place, type, key, epoch,
# destroyed), $14.. applied (place, id), $16.. names to drop (place, type, key, name), $20.. alarms (place, type, key, name, due,
# delay, method, args, kwargs, recurrence, zone, user, call), $33.. sent (place, type, key, method, args, kwargs, call, user, seq,
# index), $43.. rows (place, seq, …)
APPEND_WITH_MESSAGES = Statement(f"""{LANE}, asked AS MATERIALIZED (
    SELECT * FROM unnest({arrays(14, "bigint", "bigint")}) AS a (place, id)),
present AS MATERIALIZED (SELECT i.id FROM lane, jido_inbox i WHERE i.id = ANY ($15::bigint[]) FOR UPDATE OF i),
missing AS MATERIALIZED (SELECT place FROM asked WHERE id NOT IN (SELECT id FROM present)),
heads AS MATERIALIZED (
    SELECT h.place, h.object_id, h.destroyed
    FROM lane, unnest({arrays(4, "bigint", "bigint", "bigint", "bigint", "boolean")}) AS h (place, object_id, seq, epoch, destroyed)
    WHERE h.epoch = {HEAD} AND h.place NOT IN (SELECT place FROM missing)),
flagged AS (
    UPDATE jido_object o SET destroyed = h.destroyed FROM heads h
    WHERE o.id = ANY ($5::bigint[]) AND o.id = h.object_id AND h.destroyed IS NOT NULL),
wanted AS MATERIALIZED (
    SELECT c.*, lane.term
    FROM lane, unnest({arrays(9, "bigint", "text", "text", "bigint", "boolean")}) AS c (place, type, key, epoch, destroyed)
    WHERE c.place NOT IN (SELECT place FROM missing)),
made AS (
    INSERT INTO jido_object (type, key, owner, epoch, destroyed) SELECT type, key, term, epoch, destroyed FROM wanted
    ON CONFLICT (type, key) DO NOTHING RETURNING id, type, key),
placed AS MATERIALIZED (
    SELECT place, object_id FROM heads
    UNION ALL SELECT w.place, m.id FROM wanted w JOIN made m ON m.type = w.type AND m.key = w.key),
applied AS (
    DELETE FROM jido_inbox i USING asked a JOIN placed p ON p.place = a.place WHERE i.id = ANY ($15::bigint[]) AND i.id = a.id),
dropped AS (
    DELETE FROM jido_inbox i USING placed p JOIN unnest({arrays(16, "bigint", "text", "text", "text")}) AS d (place, type, key, name)
        ON d.place = p.place
    WHERE i.type = d.type AND i.key = d.key AND i.name = d.name),
armed AS (
    INSERT INTO jido_inbox (type, key, object_id, name, due, not_before, method, args, kwargs, recurrence, zone, user_id,
        call_id)
    SELECT a.type, a.key, p.object_id, a.name, a.due, {_NOW.format(skew="$3")} + make_interval(secs => a.delay),
        a.method, a.args, a.kwargs, a.recurrence, a.zone, a.user_id, a.call_id
    FROM placed p JOIN unnest({
    arrays(20, "bigint", "text", "text", "text", "timestamptz", "float8", "text", "text", "text", "text", "text", "text", "text")
}) AS a (place, type, key, name, due, delay, method, args, kwargs, recurrence, zone, user_id, call_id) ON a.place = p.place
    ON CONFLICT (type, key, name) WHERE name IS NOT NULL DO UPDATE SET object_id = excluded.object_id, due = excluded.due,
        not_before = excluded.not_before, method = excluded.method, args = excluded.args, kwargs = excluded.kwargs,
        recurrence = excluded.recurrence, zone = excluded.zone, user_id = excluded.user_id,
        call_id = excluded.call_id, attempts = 0, taker = NULL,
        dead = false, last_error = NULL),
sent AS (
    INSERT INTO jido_inbox (type, key, due, not_before, method, args, kwargs, call_id, user_id, sender, sender_seq, sender_index)
    SELECT s.type, s.key, n.now, n.now, s.method, s.args, s.kwargs, s.call_id, s.user_id, p.object_id, s.seq, s.index
    FROM (SELECT {_NOW.format(skew="$3")} AS now) n, placed p JOIN unnest({
    arrays(33, "bigint", "text", "text", "text", "text", "text", "text", "text", "bigint", "int")
}) AS s (place, type, key, method, args, kwargs, call_id, user_id, seq, index) ON s.place = p.place
    ORDER BY s.place, s.seq, s.index),
written AS (
    INSERT INTO jido_journal (object_id, seq, {COLUMNS}, format)
    SELECT placed.object_id, r.seq, {VALUES}, $2::smallint
    FROM placed JOIN unnest({arrays(43, *APPEND_ROWS)}) AS r (place, seq, {COLUMNS}) ON r.place = placed.place)
SELECT place, object_id FROM placed UNION ALL SELECT -1, 0 FROM lane""")

# Whether a message is a term's business: nobody else owns the object, nothing is paused.
_MINE = """NOT EXISTS (
        SELECT FROM jido_object o LEFT JOIN jido_term t ON t.id = o.owner
        WHERE o.type = i.type AND o.key = i.key AND (o.paused OR t.id IS NOT NULL AND t.id IS DISTINCT FROM {term}))
    AND ({adopt}::boolean OR EXISTS (SELECT FROM jido_object o WHERE o.type = i.type AND o.key = i.key AND o.owner = {term}))
    AND NOT EXISTS (SELECT FROM jido_deployment d WHERE d.paused)"""
_LEFT_BEHIND = """NOT i.dead AND i.taker IS NOT NULL AND i.taker IS DISTINCT FROM {term}
    AND NOT EXISTS (SELECT FROM jido_term t WHERE t.id = i.taker)"""

# $1 lane, $2 skew, $3 limit, $4 adopt. What is taken is what could be locked: an earlier message of the same sender that another
# host holds, or that is not due again yet, keeps the later ones back. A crash of the server may forget that they were taken.
TAKE = Statement(f"""{LANE}, quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) FROM lane),
clock AS MATERIALIZED (SELECT {_NOW.format(skew="$2")} AS now FROM quick),
candidates AS MATERIALIZED (
    (SELECT i.id FROM lane, jido_inbox i
        WHERE NOT i.dead AND i.not_before <= (SELECT now FROM clock) AND {_MINE.format(term="lane.term", adopt="$4")}
        ORDER BY i.not_before, i.id LIMIT $3::int)
    UNION (SELECT i.id FROM lane, jido_inbox i
        WHERE {_LEFT_BEHIND.format(term="lane.term")} AND {_MINE.format(term="lane.term", adopt="$4")} LIMIT $3::int)),
locked AS MATERIALIZED (
    SELECT i.id, i.sender, i.type, i.key, i.sender_seq, i.sender_index, i.not_before
    FROM jido_inbox i WHERE i.id = ANY (ARRAY(SELECT id FROM candidates)) AND NOT i.dead FOR UPDATE OF i SKIP LOCKED),
free AS MATERIALIZED (
    SELECT l.id, l.not_before FROM locked l WHERE l.sender IS NULL OR NOT EXISTS (
        SELECT FROM jido_inbox e WHERE e.sender = l.sender AND e.type = l.type AND e.key = l.key AND NOT e.dead
            AND (e.sender_seq, e.sender_index) < (l.sender_seq, l.sender_index) AND e.id NOT IN (SELECT id FROM locked))),
taken AS (
    UPDATE jido_inbox i SET attempts = i.attempts + 1, taker = lane.term, not_before = clock.now + {_VISIBLE},
        due = i.due + (clock.now + {_VISIBLE} - i.not_before)
    FROM lane, clock, free f WHERE i.id = ANY (ARRAY(SELECT id FROM free)) AND i.id = f.id
    RETURNING i.id, i.type, i.key, i.name, i.due - {_VISIBLE} AS now, i.method, i.args,
        i.kwargs, i.attempts, i.sender, i.call_id, i.user_id, i.recurrence,
        extract(epoch FROM clock.now - f.not_before)::float8 AS late, i.sender_seq, i.sender_index, f.not_before)
SELECT id, type, key, name, now, method, args, kwargs, attempts, sender, call_id, user_id, recurrence, late, not_before,
    sender_seq, sender_index
FROM taken UNION ALL SELECT -1, '', '', NULL, NULL, '', '', '', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM lane
ORDER BY sender_seq, sender_index, not_before, id""")

# $1 lane, $2 skew, $3.. messages (id, delay, error, dead, attempts)
REVISE = Statement(f"""{LANE}, quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) FROM lane),
said AS MATERIALIZED (
    SELECT r.*, lane.term, {_NOW.format(skew="$2")} + make_interval(secs => coalesce(r.delay, 0)) AS at
    FROM lane, quick, unnest({arrays(3, "bigint", "float8", "text", "boolean", "int")})
        AS r (id, delay, error, dead, attempts)),
deleted AS (
    DELETE FROM jido_inbox i USING said r
    WHERE i.id = ANY ($3::bigint[]) AND i.id = r.id AND r.delay IS NULL AND NOT r.dead AND i.taker = r.term),
revised AS (
    UPDATE jido_inbox i SET taker = NULL, dead = r.dead, last_error = coalesce(r.error, i.last_error),
        attempts = coalesce(r.attempts, i.attempts),
        not_before = r.at, due = i.due + (r.at - i.not_before)
    FROM said r WHERE i.id = ANY ($3::bigint[]) AND i.id = r.id AND (r.delay IS NOT NULL OR r.dead) AND i.taker = r.term)
SELECT 1 FROM lane""")

# $1 term, $2 skew, $3 adopt. Whether something can be taken, how long until the next is due, and whose owner is in the way.
OVERDUE = Statement(f"""WITH clock AS MATERIALIZED (SELECT {_NOW.format(skew="$2")} AS now)
SELECT EXISTS (SELECT FROM (
        SELECT FROM jido_inbox i
        WHERE NOT i.dead AND i.not_before <= (SELECT now FROM clock) AND {_MINE.format(term="$1::uuid", adopt="$3")}
        ORDER BY i.not_before LIMIT 1) x)
    OR EXISTS (SELECT FROM jido_inbox i WHERE {_LEFT_BEHIND.format(term="$1::uuid")} AND {_MINE.format(term="$1::uuid", adopt="$3")}),
    (SELECT extract(epoch FROM min(i.not_before) - (SELECT now FROM clock))::float8 FROM jido_inbox i
        WHERE NOT i.dead AND i.not_before > (SELECT now FROM clock)), NULL, NULL
UNION ALL (SELECT DISTINCT NULL::boolean, NULL::float8, i.type, i.key
    FROM jido_inbox i JOIN jido_object o ON o.type = i.type AND o.key = i.key JOIN jido_term t ON t.id = o.owner
    WHERE NOT i.dead AND i.not_before <= (SELECT now FROM clock) AND t.id IS DISTINCT FROM $1::uuid AND $3::boolean LIMIT 8)""")
