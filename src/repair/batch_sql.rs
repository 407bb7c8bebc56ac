//! The SQL of a batch: the next rows of the journal, changed and marked in one transaction.

use std::fmt::Write as _;

use super::change::Change;
use super::expressions::{record, these};
use super::rows::{Column, Rows};

/// The settings of a batch.
/// - A batch waits for a row lock for a tenth of a second, well under the second after which PostgreSQL looks for
///   deadlocks: in a deadlock with the application, the repair rolls back, not the application.
/// - Rows that a policy would hide are an error; they are not skipped.
/// - The text form of values does not depend on the role's settings. Otherwise a row would seem to have changed.
/// - The plan does not depend on statistics: a new journal has none.
/// - The commit does not wait for the disk. If the server crashes, rows and journal lose the same last batches, and the
///   next run repeats them. The last commit of a run waits, and so makes all earlier ones durable.
pub(super) const BATCH: &str = "
    SET LOCAL synchronous_commit TO off;
    SET LOCAL lock_timeout TO '100ms';
    SET LOCAL row_security TO off;
    SET LOCAL extra_float_digits TO 1;
    SET LOCAL intervalstyle TO postgres;
    SET LOCAL bytea_output TO hex;
    SET LOCAL enable_seqscan TO off;
    SET LOCAL enable_bitmapscan TO off;
    SET LOCAL enable_hashjoin TO off;
    SET LOCAL enable_mergejoin TO off;
    SET LOCAL enable_sort TO off;
    SET LOCAL max_parallel_workers_per_gather TO 0;
    SET LOCAL jit TO off";

/// The next batch of run `$1` after row `$2`, of at most `$3` rows.
const NEXT: &str = "
    SELECT c.n, c.key, c.before, c.after, c.others
    FROM migrate.repair_change c
    WHERE c.run_id = $1 AND c.n > $2 AND c.applied_at IS NULL AND c.left_because IS NULL
    ORDER BY c.n
    LIMIT $3";

impl Change {
    /// The numbers of the next batch of run `$1` after row `$2`, of at most `$3` rows.
    pub fn next() -> String {
        format!("SELECT coalesce(pg_catalog.array_agg(b.n ORDER BY b.n), '{{}}') AS rows FROM ({NEXT}) b")
    }

    /// Locks those of rows `$2` of run `$1` that no other session has locked, and returns their numbers.
    pub fn lock(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "WITH batch AS MATERIALIZED (SELECT c.n, c.key FROM migrate.repair_change c WHERE {these}),
             locked AS MATERIALIZED (
                 SELECT b.n
                 FROM batch b
                 CROSS JOIN LATERAL (
                     SELECT FROM {table} u WHERE u.{key} = b.key::{key_type} FOR NO KEY UPDATE SKIP LOCKED
                 ) l
             )
             SELECT coalesce(pg_catalog.array_agg(l.n ORDER BY l.n), '{{}}') AS rows FROM locked l",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// Changes the rows of the next batch of run `$1` after row `$2`, of at most `$3` rows, that still equal their
    /// before-image. Returns the numbers of the batch and of the changed rows, the number of hours they fall into at
    /// most, and whether each row now holds the value that was written to it. Waits for row locks of other sessions.
    pub fn apply_next(&self) -> String {
        self.apply(NEXT)
    }

    /// The same for rows `$2` of run `$1`.
    pub fn apply_locked(&self) -> String {
        let these = format!(
            "SELECT c.n, c.key, c.before, c.after, c.others FROM migrate.repair_change c WHERE {}",
            these("$2")
        );
        self.apply(&these)
    }

    fn apply(&self, batch: &str) -> String {
        let Rows { table, key, .. } = &self.rows;
        let mut sets = String::new();
        let mut as_meant = String::from("true");
        for Column { name, sql_type } in &self.writes {
            let _ = write!(sets, "{name} = (b.after ->> '{name}'::text)::{sql_type}, ");
            let _ = write!(as_meant, " AND u.{name} IS NOT DISTINCT FROM (b.after ->> '{name}'::text)::{sql_type}");
        }
        for name in &self.stamps {
            let _ = write!(sets, "{name} = pg_catalog.now(), ");
            let _ = write!(as_meant, " AND u.{name} IS NOT DISTINCT FROM pg_catalog.now()");
        }
        let others = if self.checks_others {
            format!(" AND (b.others IS NULL OR b.others = {})", self.others)
        } else {
            String::new()
        };
        let on_time = self
            .not_before
            .as_ref()
            .map_or("true".to_owned(), |time| format!("pg_catalog.now() >= '{time}'::pg_catalog.timestamptz"));
        format!(
            "WITH batch AS MATERIALIZED ({batch}),
             applied AS (
                 UPDATE {table} u
                 SET {sets}
                 FROM batch b
                 WHERE u.{key} = b.key::{key_type} AND {checked} = b.before AND ({eligible}){others} AND {on_time}
                 RETURNING b.n, u.{at} AS at, {as_meant} AS as_meant
             )
             SELECT coalesce((SELECT pg_catalog.array_agg(b.n ORDER BY b.n) FROM batch b), '{{}}') AS batch,
                    coalesce((SELECT pg_catalog.array_agg(a.n ORDER BY a.n) FROM applied a), '{{}}') AS applied,
                    (SELECT CASE WHEN pg_catalog.isfinite(pg_catalog.min(a.at)) AND pg_catalog.isfinite(pg_catalog.max(a.at))
                                 THEN least(pg_catalog.count(*), 1 + extract(epoch FROM pg_catalog.max(a.at) - pg_catalog.min(a.at))::bigint / 3600)
                                 ELSE pg_catalog.count(*) END
                     FROM applied a) AS hours,
                    coalesce((SELECT pg_catalog.bool_and(a.as_meant) FROM applied a), true) AS as_meant,
                    {on_time} AS on_time",
            at = self.rows.at,
            key = key.name,
            key_type = key.sql_type,
            sets = sets.trim_end_matches(", "),
            checked = record(&self.checked, "u"),
            eligible = self.eligible,
        )
    }

    /// Those of rows `$2` of run `$1` that were deleted.
    pub fn gone(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "SELECT coalesce(pg_catalog.array_agg(c.n ORDER BY c.n), '{{}}') AS rows
             FROM migrate.repair_change c
             WHERE {these}
               AND NOT EXISTS (SELECT FROM {table} u WHERE u.{key} = c.key::{key_type} OFFSET 0)",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// Records in the journal of run `$1` that every open row after row `$2` up to row `$3` was changed. In this common
    /// case it is enough to read a range.
    pub fn keep_all(&self) -> String {
        format!(
            "UPDATE migrate.repair_change c
             SET applied_at = pg_catalog.now(), after = after || {}
             WHERE c.run_id = $1 AND c.n > $2 AND c.n <= $3 AND c.applied_at IS NULL AND c.left_because IS NULL",
            self.stamped_now()
        )
    }

    fn stamped_now(&self) -> String {
        let stamps: Vec<String> = self.stamps.iter().map(|name| format!("'{name}', pg_catalog.now()")).collect();
        format!("pg_catalog.jsonb_build_object({})", stamps.join(", "))
    }

    /// Records in the journal of run `$1` that rows `$2` were changed, that rows `$3` were left because another session
    /// had changed them, and rows `$4` because they were deleted.
    pub fn keep(&self) -> String {
        format!(
            "WITH gone AS (
                 UPDATE migrate.repair_change c SET left_because = 'gone' WHERE {gone}
             ),
             changed AS (
                 UPDATE migrate.repair_change c SET left_because = 'changed' WHERE {changed}
             )
             UPDATE migrate.repair_change c
             SET applied_at = pg_catalog.now(), after = after || {stamps}
             WHERE {applied}",
            gone = these("$4"),
            changed = these("$3"),
            applied = these("$2"),
            stamps = self.stamped_now(),
        )
    }

    /// The session that has locked one of rows `$2` of run `$1`: its transaction is in the row itself.
    pub fn holder(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "SELECT l.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client,
                    coalesce(a.xact_start, a.backend_start) AS since
             FROM migrate.repair_change c
             JOIN {table} u ON u.{key} = c.key::{key_type}
             JOIN pg_catalog.pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = u.xmax AND l.granted
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
             WHERE {these} AND l.pid IS NOT NULL
             ORDER BY since NULLS LAST
             LIMIT 1",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// The statement that queues what depends on rows `$2` of run `$1`.
    pub fn enqueue(&self) -> Option<String> {
        let Rows { table, key, derived, .. } = &self.rows;
        let rows = format!(
            "(SELECT u.* FROM migrate.repair_change c JOIN {table} u ON u.{key} = c.key::{key_type} WHERE {these})",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        );
        derived.map(|derived| derived.enqueue(&rows))
    }
}
