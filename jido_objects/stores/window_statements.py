"""The SQL by which the PostgreSQL store keeps its windows: trimming, walking, forgetting.

None of it is fenced: what it deletes, no owner will look for. It does not wait for owners, and they hardly ever for it. An
object's row is locked only at the very end, for its horizon. Two trims of one object exclude each other by an advisory lock.
"""

from __future__ import annotations

from ..ids import GENERATED
from .link import Statement
from .protocol import EntryKind
from .windows import LATEST

_LOCKS = 0x4A49444F
"""Class of the advisory locks: one per object that is being trimmed."""

# Of the rows that go, callers' own ids stay known, and the latest time in a generated one becomes the horizon, in the same
# statement. It does not wait for the disk: what a crash of the server forgets is trimmed again. What may go is decided as in
# ``windows.cut``. $1 objects, $2 seconds, $3 rows, $4 bytes or NULL, $5 least seconds, $6 limit, $7 seconds of callers' own ids
TRIM = Statement(f"""WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
asked AS MATERIALIZED (
    SELECT a.* FROM quick, unnest($1::bigint[], $2::float8[], $3::bigint[], $4::bigint[], $5::float8[])
        AS a (id, seconds, rows, size, least)
    WHERE pg_try_advisory_xact_lock({_LOCKS}, (a.id % 2147483647)::int)),
spans AS MATERIALIZED (
    SELECT a.*, f.seq AS first, h.seq AS head, l.seq AS line,
        h.kind = {int(EntryKind.DESTROY)} AND h.at < now() - make_interval(secs => a.seconds) AS destroyed
    FROM asked a
    CROSS JOIN LATERAL (SELECT j.seq FROM jido_journal j WHERE j.object_id = a.id ORDER BY j.seq LIMIT 1) f
    CROSS JOIN LATERAL (SELECT j.seq, j.kind, j.at FROM jido_journal j WHERE j.object_id = a.id ORDER BY j.seq DESC LIMIT 1) h
    CROSS JOIN LATERAL (SELECT max(b.seq) AS seq FROM (
        SELECT j.seq, sum(octet_length(j.delta) + coalesce(octet_length(j.result), 0) + coalesce(octet_length(j.extra), 0))
            OVER (ORDER BY j.seq DESC) AS size
        FROM jido_journal j WHERE a.size IS NOT NULL AND j.object_id = a.id) b WHERE b.size >= a.size) l),
past AS MATERIALIZED (
    SELECT p.id, p.first, p.head, s.seq AS base, p.destroyed AND s.seq = p.head AS whole FROM spans p CROSS JOIN LATERAL (
        SELECT s.seq FROM jido_snapshot s WHERE s.object_id = p.id AND s.seq >= p.first AND s.seq <= p.head
            AND s.seq IS DISTINCT FROM (
                SELECT x.seq FROM jido_snapshot x WHERE x.object_id = p.id ORDER BY x.seq DESC OFFSET 1 LIMIT 1)
            AND (SELECT j.at FROM jido_journal j WHERE j.object_id = p.id AND j.seq = s.seq) < now() - make_interval(secs =>
                CASE WHEN s.seq <= p.head - p.rows OR s.seq < p.line THEN least(p.seconds, p.least) ELSE p.seconds END)
        OFFSET 0) s
    WHERE least(s.seq, p.head - 1) >= p.first
    UNION ALL SELECT p.id, p.first, p.head, p.head, true FROM spans p WHERE p.destroyed AND p.head > p.first),
newest AS MATERIALIZED (SELECT id, max(least(base, head - 1)) AS until FROM past GROUP BY id),
chosen AS MATERIALIZED (
    SELECT DISTINCT ON (id) id, first, head, base,
        CASE WHEN whole OR base < first + $6::bigint THEN least(base, head - 1)
            ELSE least(base, head - 1, first + $6::bigint - 1) END AS until
    FROM past WHERE base < first + $6::bigint OR cardinality($1::bigint[]) = 1
    ORDER BY id, base < first + $6::bigint DESC, CASE WHEN base < first + $6::bigint THEN -base ELSE base END),
gone AS (
    DELETE FROM jido_journal d WHERE d.ctid = ANY (ARRAY(
        SELECT r.ctid FROM chosen c CROSS JOIN LATERAL (
            SELECT j.ctid FROM jido_journal j WHERE j.object_id = c.id AND j.seq >= c.first AND j.seq <= c.until OFFSET 0) r))
    RETURNING d.object_id, d.seq, d.kind, d.own_id, d.call_id, d.method, d.digest, d.result, d.at),
remembered AS (
    INSERT INTO jido_call (object_id, call_id, seq, kind, method, digest, result, at)
    SELECT object_id, call_id, seq, kind, method, digest, result, at FROM gone
    WHERE own_id AND at > now() - make_interval(secs => $7::float8) ORDER BY object_id, seq
    ON CONFLICT (object_id, call_id) DO NOTHING),
bases AS (
    DELETE FROM jido_snapshot d USING chosen c
    WHERE d.object_id = ANY ($1::bigint[]) AND d.object_id = c.id AND d.seq < c.base AND c.until = least(c.base, c.head - 1)),
latest AS MATERIALIZED (
    SELECT object_id, count(*) AS rows, max(call_id) FILTER (WHERE NOT own_id AND call_id ~ '^{GENERATED}$') AS call_id
    FROM gone GROUP BY object_id),
horizons AS (
    UPDATE jido_object o SET horizon = greatest(o.horizon, to_timestamp(
        least(('x' || lpad(substr(l.call_id, 2, 12), 16, '0'))::bit(64)::bigint, {LATEST}) / 1000.0))
    FROM latest l WHERE o.id = ANY ($1::bigint[]) AND o.id = l.object_id AND l.call_id IS NOT NULL)
SELECT a.id, coalesce(l.rows, 0), coalesce(n.until > coalesce(c.until, 0), false)
FROM asked a LEFT JOIN newest n ON n.id = a.id LEFT JOIN chosen c ON c.id = a.id LEFT JOIN latest l ON l.object_id = a.id""")

# ---------------------------------------------------------------- the walk

CURSOR = Statement("SELECT call_id, at FROM jido_walk WHERE milliseconds = $1::bigint")

# Generated ids begin with their time, so their index is a list of rows in the order of time. Planned at each use, and the limit
# is a literal in effect: what is asked for is the beginning of a range, however long the range may be. $1 after, $2 seconds
GENERATED_PAST = Statement(
    """SELECT w.call_id, w.object_id, o.type FROM (
    SELECT call_id, object_id FROM jido_journal WHERE call_id > $1::text
        AND call_id < '~' || lpad(to_hex(greatest(0, (extract(epoch FROM now()) - $2::float8) * 1000)::bigint), 12, '0')
    ORDER BY call_id LIMIT $3::bigint) w
CROSS JOIN LATERAL (SELECT o.type FROM jido_object o WHERE o.id = w.object_id OFFSET 0) o ORDER BY 1""",
    prepare=False,
)
OWN_PAST = Statement(
    """SELECT w.at, w.object_id, o.type FROM (
    SELECT at, object_id FROM jido_journal WHERE own_id AND at > $1::timestamptz AND at < now() - make_interval(secs => $2::float8)
    ORDER BY at LIMIT $3::bigint) w
CROSS JOIN LATERAL (SELECT o.type FROM jido_object o WHERE o.id = w.object_id OFFSET 0) o ORDER BY 1""",
    prepare=False,
)
# $1 milliseconds, $2 and $3 where the walk began, $4 and $5 where it ends
WALKED = Statement("""INSERT INTO jido_walk AS w (milliseconds, call_id, at) VALUES ($1::bigint, $4::text, $5::timestamptz)
ON CONFLICT (milliseconds) DO UPDATE SET call_id = excluded.call_id, at = excluded.at
WHERE w.call_id = $2::text AND w.at = $3::timestamptz""")

FORGET = Statement("""DELETE FROM jido_call WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM jido_call WHERE at < now() - make_interval(secs => $1::float8)
    ORDER BY at LIMIT $2::bigint FOR UPDATE SKIP LOCKED))""")
