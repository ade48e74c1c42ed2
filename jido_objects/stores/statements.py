"""The SQL of the PostgreSQL store. Every fenced write begins with ``LANE``.

The lane's row is locked against deletion until the statement commits: a burial waits for it, and after a burial the row is
gone and nothing is selected ``FROM lane``. The lock conflicts with the deletion only, so lanes never wait for each other.

Plans must not depend on statistics. A plan is made once per connection, perhaps while the tables are empty, and an hour
later a hot object has a million rows: a scan of one object's rows where an index look-up was meant is then fatal. Hence
scalar subqueries and ``LATERAL … OFFSET 0`` (always looked up row by row), ``= ANY`` beside joins with a table, ``IS TRUE``
around ``IN`` (always a hash of what was selected), and a second index of the journal that does not begin with the object.
"""

from __future__ import annotations

from .link import Statement

LANE = "WITH lane AS (SELECT id, term FROM jido_lane WHERE id = $1::uuid FOR KEY SHARE)"

COLUMNS = "epoch, digest, at, version, kind, own_id, call_id, method, user_id, delta, result, extra"
VALUES = "r.epoch, r.digest, r.at, r.version, r.kind, r.own_id, r.call_id, r.method, r.user_id, r.delta, r.result, r.extra"
TYPES = ("bigint", "bigint", "timestamptz", "int", "smallint", "boolean", "text", "text", "text", "text", "text", "text")

APPEND_ROWS = ("bigint", "bigint", *TYPES)
"""Types of the columns that say where a row belongs, and of ``COLUMNS``."""


def arrays(first: int, *types: str) -> str:
    return ", ".join(f"${first + n}::{name}[]" for n, name in enumerate(types))


# The epoch of an object's head row, for the belt; at seq 0 the claimed object row is the head.
HEAD = """CASE WHEN h.seq > 0
    THEN (SELECT j.epoch FROM jido_journal j WHERE j.object_id = h.object_id AND j.seq = h.seq)
    ELSE (SELECT o.epoch FROM jido_object o WHERE o.id = h.object_id) END"""

# One row of one object, the lone caller's commit. $1 lane, $2 format, $3 object, $4 seq of the head, $5 its epoch, $6.. the row
APPEND_ONE = Statement(f"""{LANE}
INSERT INTO jido_journal (object_id, seq, {COLUMNS}, format)
SELECT $3::bigint, {", ".join(f"${6 + n}::{name}" for n, name in enumerate(("bigint", *TYPES)))}, $2::smallint
FROM lane WHERE $5::bigint = (SELECT j.epoch FROM jido_journal j WHERE j.object_id = $3::bigint AND j.seq = $4::bigint)""")

# $1 lane, $2 format, $3.. heads (object, seq, epoch), $6.. rows (object, seq, …)
APPEND = Statement(f"""{LANE}, heads AS MATERIALIZED (
    SELECT h.object_id FROM lane, unnest({arrays(3, "bigint", "bigint", "bigint")}) AS h (object_id, seq, epoch) WHERE h.epoch = {HEAD})
INSERT INTO jido_journal (object_id, seq, {COLUMNS}, format)
SELECT r.object_id, r.seq, {VALUES}, $2::smallint
FROM unnest({arrays(6, "bigint", "bigint", *TYPES)}) AS r (object_id, seq, {COLUMNS})
WHERE (r.object_id IN (SELECT object_id FROM heads)) IS TRUE""")

# Which of these rows are there, and whether the lane is: what became of a batch that wrote less than was asked.
WRITTEN = Statement(f"""
SELECT w.place FROM unnest({arrays(2, "bigint", "bigint", "bigint")}) WITH ORDINALITY AS w (object_id, seq, epoch, place)
WHERE w.epoch = (SELECT j.epoch FROM jido_journal j WHERE j.object_id = w.object_id AND j.seq = w.seq)
UNION ALL SELECT 0 FROM jido_lane WHERE id = $1::uuid""")

# A batch in which objects are created, or change their ``destroyed`` flag. Rows find their object by its place in the batch.
# $1 lane, $2 format, $3.. heads (place, object, seq, epoch, destroyed), $8.. creations (place, type, key, epoch, destroyed),
# $13.. rows (place, seq, …)
APPEND_AND_CREATE = Statement(f"""{LANE}, heads AS MATERIALIZED (
    SELECT h.place, h.object_id, h.destroyed
    FROM lane, unnest({arrays(3, "bigint", "bigint", "bigint", "bigint", "boolean")}) AS h (place, object_id, seq, epoch, destroyed)
    WHERE h.epoch = {HEAD}),
flagged AS (
    UPDATE jido_object o SET destroyed = h.destroyed FROM heads h
    WHERE o.id = ANY ($4::bigint[]) AND o.id = h.object_id AND h.destroyed IS NOT NULL),
wanted AS MATERIALIZED (
    SELECT c.*, lane.term
    FROM lane, unnest({arrays(8, "bigint", "text", "text", "bigint", "boolean")}) AS c (place, type, key, epoch, destroyed)),
made AS (
    INSERT INTO jido_object (type, key, owner, epoch, destroyed) SELECT type, key, term, epoch, destroyed FROM wanted
    ON CONFLICT (type, key) DO NOTHING RETURNING id, type, key),
placed AS MATERIALIZED (
    SELECT place, object_id FROM heads
    UNION ALL SELECT w.place, m.id FROM wanted w JOIN made m ON m.type = w.type AND m.key = w.key),
written AS (
    INSERT INTO jido_journal (object_id, seq, {COLUMNS}, format)
    SELECT placed.object_id, r.seq, {VALUES}, $2::smallint
    FROM placed JOIN unnest({arrays(13, "bigint", "bigint", *TYPES)}) AS r (place, seq, {COLUMNS}) ON r.place = placed.place)
SELECT place, object_id FROM placed UNION ALL SELECT -1, 0 FROM lane""")

CLAIM = Statement(f"""{LANE}, taken AS (
    UPDATE jido_object o SET owner = lane.term, epoch = o.epoch + 1
    FROM lane, unnest({arrays(2, "bigint", "bigint")}) AS c (id, epoch)
    WHERE o.id = ANY ($2::bigint[]) AND o.id = c.id AND o.epoch = c.epoch
        AND (o.owner IS NULL OR o.owner = lane.term OR NOT EXISTS (SELECT FROM jido_term t WHERE t.id = o.owner))
    RETURNING o.id)
SELECT id FROM taken UNION ALL SELECT -1 FROM lane""")

# A term's new activation of what it owns already: only the epoch changes, so the commit need not wait for the disk. Ownership
# itself is durable, so nobody else can have claimed in between. The log is flushed in order, so a row written under the new
# epoch takes it along; and after a crash of the server the writer claims again what may have been forgotten.
CLAIM_AGAIN = Statement(f"""{LANE}, quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) FROM lane), taken AS (
    UPDATE jido_object o SET epoch = o.epoch + 1
    FROM lane, quick, unnest({arrays(2, "bigint", "bigint")}) AS c (id, epoch)
    WHERE o.id = ANY ($2::bigint[]) AND o.id = c.id AND o.epoch = c.epoch AND o.owner = lane.term
    RETURNING o.id)
SELECT id FROM taken UNION ALL SELECT -1 FROM lane""")

# Deletions see the table as it was before the insert: what is kept of it is the newest older one, the base of history, and the
# first of each share of its window, in time ($8) and in rows ($9).
SNAPSHOT = Statement(f"""{LANE}, given AS MATERIALIZED (
    SELECT s.* FROM lane, unnest({arrays(3, "bigint", "bigint", "bigint", "int", "text", "float8")})
        AS s (object_id, seq, epoch, version, document, share)),
taken AS (
    INSERT INTO jido_snapshot (object_id, seq, epoch, version, document, format)
    SELECT s.object_id, s.seq, s.epoch, s.version, s.document, $2::smallint
    FROM given s
    WHERE s.epoch = (SELECT j.epoch FROM jido_journal j WHERE j.object_id = s.object_id AND j.seq = s.seq)
    ON CONFLICT (object_id, seq) DO UPDATE SET epoch = excluded.epoch, version = excluded.version, document = excluded.document
    RETURNING object_id, seq),
dropped AS (
    DELETE FROM jido_snapshot d USING taken t, given g
    WHERE d.object_id = ANY ($3::bigint[]) AND d.object_id = t.object_id AND g.object_id = t.object_id AND g.seq = t.seq
        AND d.seq < (SELECT max(p.seq) FROM jido_snapshot p WHERE p.object_id = t.object_id AND p.seq < t.seq)
        AND d.seq IS DISTINCT FROM (
            SELECT max(b.seq) FROM jido_snapshot b WHERE b.object_id = t.object_id
            AND b.seq <= (SELECT min(j.seq) FROM jido_journal j WHERE j.object_id = t.object_id))
        AND (SELECT count(*) FROM jido_snapshot e WHERE e.object_id = d.object_id AND e.seq < d.seq
            AND floor(extract(epoch FROM e.at)::float8 / g.share) = floor(extract(epoch FROM d.at)::float8 / g.share)) > 0
        AND (SELECT count(*) FROM jido_snapshot e WHERE e.object_id = d.object_id AND e.seq < d.seq
            AND e.seq / $9::bigint = d.seq / $9::bigint) > 0)
SELECT object_id, seq FROM taken UNION ALL SELECT -1, -1 FROM lane""")

# ---------------------------------------------------------------- terms and lanes

_TERM = "boot_id, pid_namespace, network_namespace, pid, pid_started, hostname, region, code_version, wire_version, endpoints, draining"
# Only the database's clock counts, and it runs on inside a transaction. After a start of the server nobody could renew for
# a while: everyone has one lease to come back.
_LEASE_END = "greatest(t.lease_until, pg_postmaster_start_time() + make_interval(secs => t.lease_seconds))"
_LEASE_LEFT = f"extract(epoch FROM {_LEASE_END} - clock_timestamp())::float8"

BEGIN_TERM = Statement(f"""INSERT INTO jido_term (id, lease_until, lease_seconds, {_TERM})
VALUES ($1::uuid, clock_timestamp() + make_interval(secs => $2::float8), $2::float8,
    $3::text, $4::text, $5::text, $6::bigint, $7::text, $8::text, $9::text, $10::text, $11::int, $12::text, $13::boolean)""")

# A non-key column: the row's new version conflicts with the burial's DELETE and with nothing else.
RENEW = Statement("""UPDATE jido_term SET lease_until = clock_timestamp() + make_interval(secs => $2::float8), lease_seconds = $2::float8
WHERE id = $1::uuid""")

ALIVE = Statement("SELECT id FROM jido_term WHERE id = ANY ($1::uuid[])")

# One round trip, so that a client which freezes cannot leave it open: a script is one transaction on the server. Each of its
# statements sees what was committed before it began; the second one so sees the lanes whose insertion the first had to wait
# for. The lease is looked at again after waiting for a renewal that was not committed yet.
BURY = f"""SET LOCAL lock_timeout = '{{lock}}ms';
DELETE FROM jido_term t WHERE t.id = '{{term}}' AND ({{proven}} OR {_LEASE_END} < clock_timestamp());
DELETE FROM jido_lane WHERE term = '{{term}}' AND NOT EXISTS (SELECT FROM jido_term WHERE id = '{{term}}');
SELECT count(*) FROM jido_term WHERE id = '{{term}}'"""
TERMS = Statement(f"SELECT t.id, {_LEASE_LEFT}, t.started, {_TERM} FROM jido_term t")
END_CONNECTIONS = Statement("""SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE $1::text AND datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL""")

BEGIN_LANE = Statement("INSERT INTO jido_lane (id, term) SELECT $1::uuid, id FROM jido_term WHERE id = $2::uuid FOR KEY SHARE")
END_LANES = "SET LOCAL lock_timeout = '{lock}ms'; DELETE FROM jido_lane WHERE id = ANY ('{{{lanes}}}'::uuid[])"

# ---------------------------------------------------------------- reads

FIND = Statement(f"""SELECT n.place, o.id, o.epoch, o.destroyed,
    coalesce((SELECT j.version FROM jido_journal j WHERE j.object_id = o.id ORDER BY j.seq DESC LIMIT 1), 0),
    o.owner, t.id IS NOT NULL, {_LEASE_LEFT}, {_TERM}
FROM unnest({arrays(1, "text", "text")}) WITH ORDINALITY AS n (type, key, place)
CROSS JOIN LATERAL (SELECT * FROM jido_object o WHERE o.type = n.type AND o.key = n.key OFFSET 0) o
LEFT JOIN jido_term t ON t.id = o.owner""")

# Of each object: its row (-1), its snapshot (0), its tail (1). The row at the snapshot's own seq comes along without its
# delta: it says which epoch the head has when there is no tail.
LOAD = Statement("""WITH base AS MATERIALIZED (
    SELECT i.place, i.id, s.seq, s.epoch, s.version, s.document
    FROM unnest($1::bigint[]) WITH ORDINALITY AS i (id, place) LEFT JOIN LATERAL (
        SELECT * FROM jido_snapshot s WHERE s.object_id = i.id ORDER BY s.seq DESC LIMIT 1) s ON true)
SELECT b.place, -1, 0::bigint, o.epoch, 0, NULL::smallint, NULL::text
    FROM base b CROSS JOIN LATERAL (SELECT o.epoch FROM jido_object o WHERE o.id = b.id OFFSET 0) o
UNION ALL SELECT b.place, 0, b.seq, b.epoch, b.version, NULL, b.document FROM base b WHERE b.seq IS NOT NULL
UNION ALL SELECT b.place, 1, j.seq, j.epoch, j.version, j.kind, CASE WHEN j.seq > coalesce(b.seq, 0) THEN j.delta END
    FROM base b CROSS JOIN LATERAL (
        SELECT * FROM jido_journal j WHERE j.object_id = b.id AND j.seq >= coalesce(b.seq, 1) OFFSET 0) j
ORDER BY 1, 2, 3""")

# Planned each time: with no statistics at all the table's size still tells that both columns of the index are wanted. One
# statement, so that what is being trimmed is seen in the one place or the other. Last the object's horizon.
RECALL = Statement(
    f"""WITH c AS MATERIALIZED (SELECT * FROM unnest({arrays(1, "bigint", "text")}) WITH ORDINALITY AS c (object_id, call_id, place))
SELECT c.place, 1, j.seq, j.kind, j.method, j.digest, j.result, j.at FROM c
CROSS JOIN LATERAL (SELECT * FROM jido_journal j WHERE j.object_id = c.object_id AND j.call_id = c.call_id OFFSET 0) j
UNION ALL SELECT c.place, 1, r.seq, r.kind, r.method, r.digest, r.result, r.at FROM c
CROSS JOIN LATERAL (SELECT * FROM jido_call r WHERE r.object_id = c.object_id AND r.call_id = c.call_id OFFSET 0) r
UNION ALL SELECT c.place, 2, 0, NULL, NULL, NULL, NULL, o.horizon FROM c
CROSS JOIN LATERAL (SELECT o.horizon FROM jido_object o WHERE o.id = c.object_id AND o.horizon IS NOT NULL OFFSET 0) o
ORDER BY 1, 2, 3""",
    prepare=False,
)

HISTORY = Statement(f"""SELECT seq, {COLUMNS} FROM jido_journal WHERE object_id = $1::bigint AND seq > $2::bigint
ORDER BY seq LIMIT $3::int""")

# ---------------------------------------------------------------- what a connection is, and what it is connected to

SESSION = """SET synchronous_commit = on; SET default_transaction_isolation = 'read committed';
SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off; SET timezone = 'UTC'; SET datestyle = 'ISO';
SET idle_in_transaction_session_timeout = '10s'; SET statement_timeout = {milliseconds}"""
PROBE = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, pg_backend_pid()"
TABLES = f"""SELECT id, type, key, owner, epoch, destroyed, horizon FROM jido_object LIMIT 0;
SELECT id, started, lease_until, lease_seconds, {_TERM} FROM jido_term LIMIT 0;
SELECT id, term FROM jido_lane LIMIT 0;
SELECT object_id, seq, {COLUMNS}, format FROM jido_journal LIMIT 0;
SELECT object_id, seq, epoch, at, version, format, document FROM jido_snapshot LIMIT 0;
SELECT object_id, call_id, seq, kind, method, digest, result, at FROM jido_call LIMIT 0;
SELECT milliseconds, call_id, at FROM jido_walk LIMIT 0;
SELECT id, taker, not_before FROM jido_inbox LIMIT 0; SELECT paused FROM jido_deployment LIMIT 0"""
