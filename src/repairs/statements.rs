//! The SQL of a repair, made from what its author says about rows.
//!
//! A big table meets the look (one pass), the batches (by key, planned with everything but index lookups switched off, so
//! that statistics do not matter), and the final count (one pass).

use std::fmt::Write as _;

use super::columns::{self, Present};
use super::expressions::{amount_type, as_left, at, found, given_back, joins, of_row, record, shared, stamped, these};
use super::repair::{Column, Rows};

/// How a batch is run. A row that somebody has locked is waited for no longer than a tenth of a second, well under the second
/// after which PostgreSQL looks for deadlocks: where we and the application have locked each other out, it is we who step
/// back. Rows that a policy would hide are an error, not passed over. What values look like does not depend on the role's
/// settings, or a row would seem to have changed. The plan is the same whatever the statistics say: a journal that was written a moment ago has none.
/// Its commit does not wait for the disk: should the server crash, rows and journal lose the same last batches, and the run
/// goes on with them. The end of the run waits, and with it everything before.
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

/// The next batch of run `$1` behind row `$2`, of at most `$3` rows.
const NEXT: &str = "
    SELECT c.n, c.key, c.before, c.after, c.others
    FROM migrate.repair_change c
    WHERE c.run_id = $1 AND c.n > $2 AND c.applied_at IS NULL AND c.left_because IS NULL
    ORDER BY c.n
    LIMIT $3";

/// How much of a finding is wanted. Whom a row belongs to takes joins, and the lines take sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Totals,
    Lines,
}

/// How the whole table is looked at. All the rows there are to repair are sorted and joined, for which the four megabytes
/// of stock settings are little; and by hash, whatever the statistics say about how few they are.
pub(super) const LOOK: &str = "
    SELECT pg_catalog.set_config('work_mem', '64MB', true) WHERE pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) < 64 * 1024 * 1024;
    SET LOCAL enable_nestloop TO off;
    SET LOCAL row_security TO off;
    SET LOCAL extra_float_digits TO 1;
    SET LOCAL intervalstyle TO postgres;
    SET LOCAL bytea_output TO hex";

/// What is to be changed, and how it is found.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub rows: Rows,
    /// A query for the columns `key`, `before`, `after`, `owner`, `day`, `at`, `amount_before`, `amount_after`,
    /// `counted`, `others` and `still` (it meets the condition after its correction, too).
    source: String,
    /// The same without owner and day.
    plain_source: String,
    /// What must still be as it was when the row is reached.
    checked: Vec<Column>,
    /// What is set from the journal.
    writes: Vec<Column>,
    /// What is set to the time of the change.
    stamps: Vec<&'static str>,
    /// The condition on `u`.
    eligible: String,
    /// The condition for rows of the journal that know what is repaired already, if there is any.
    known_by: Option<String>,
    /// Rows can be left that should have been changed.
    leaves: bool,
    /// A hash of what is not changed of `u`, and the columns it is of.
    others: String,
    pub hashed: Vec<Present>,
    /// Whether that must be as it was when the row is reached, too.
    checks_others: bool,
    /// No row may be changed by a clock that shows less than this.
    pub not_before: Option<String>,
}

impl Change {
    /// The rows that are wrong become right.
    ///
    /// A row that was repaired carries the time of its repair. With a later cutoff it would meet the condition again; where
    /// there is a journal, it is `known_by` that, unless somebody has written other numbers since.
    pub fn repair(rows: Rows, present: &[Present], eligible: String, known_by: Option<String>) -> Self {
        let stamps = rows.stamps.clone();
        let writes: Vec<Column> = rows.corrects.iter().map(|(column, _)| *column).collect();
        let mut checked = writes.clone();
        checked.extend(stamped(&rows));
        checked.extend(&rows.rests_on);
        let corrected: Vec<(&str, String)> = rows
            .corrects
            .iter()
            .map(|(column, becomes)| (column.name, format!("({})::{}", of_row(becomes, &checked), column.sql_type)))
            .collect();
        let becomes: Vec<String> = corrected.iter().map(|(name, value)| format!("'{name}', {value}")).collect();
        let mut instead = corrected.clone();
        instead.extend(stamps.iter().map(|name| (*name, "pg_catalog.now()".to_owned())));
        let amount = rows.corrects.iter().find(|(column, _)| column.name == rows.amount);
        let amount_after =
            amount.map_or_else(|| format!("u.{}", rows.amount), |(_, becomes)| of_row(becomes, &checked));
        let hashed = columns::others(present, &rows);
        let others = columns::hash(&hashed);
        let found = found(&eligible, &rows, known_by.as_deref(), None);
        let source = |shared: &str, joins: &str| {
            format!(
                "SELECT u.{key}::text AS key,
                    {before} AS before,
                    pg_catalog.jsonb_build_object({after}) AS after,
                    {shared},
                    u.{amount} AS amount_before,
                    {amount_after} AS amount_after,
                    {counted} AS counted,
                    {others} AS others,
                    (SELECT {eligible} FROM {corrected}) AS still
             FROM {table} u {joins}
             WHERE {found}",
                key = rows.key.name,
                before = record(&checked, "u"),
                after = becomes.join(", "),
                amount = rows.amount,
                counted = rows.counts.map_or("false".to_owned(), |counts| of_row(counts.condition, &checked)),
                corrected = columns::with(present, &instead),
                table = rows.table,
            )
        };
        let plain_source = source(&at(&rows), "");
        let source = source(&shared(&rows), joins(&rows));
        Self {
            rows,
            source,
            plain_source,
            checked,
            writes,
            stamps,
            eligible,
            known_by,
            leaves: true,
            others,
            hashed,
            checks_others: false,
            not_before: None,
        }
    }

    /// The rows that still are as `run` left them become what they were before it. `then` are the columns that its journal
    /// has a hash of, if they are all still there.
    pub fn undo(rows: Rows, present: &[Present], run: i64, then: Option<&[Present]>) -> Self {
        let mut writes: Vec<Column> = rows.corrects.iter().map(|(column, _)| *column).collect();
        writes.extend(stamped(&rows));
        let before = given_back(&writes);
        let hashed = columns::others(present, &rows);
        let others = columns::hash(&hashed);
        let source = |shared: &str, joins: &str| {
            format!(
                "SELECT c.key,
                    {now} AS before,
                    pg_catalog.jsonb_build_object({before}) AS after,
                    {shared},
                    u.{amount} AS amount_before,
                    (c.before ->> '{amount}'::text)::{amount_type} AS amount_after,
                    false AS counted,
                    {others} AS others,
                    false AS still
             FROM migrate.repair_change c
             JOIN {table} u ON u.{key} = c.key::{key_type} {joins}
             WHERE c.run_id = {run} AND c.applied_at IS NOT NULL AND {as_left}",
                now = record(&writes, "u"),
                as_left = as_left(&writes, then),
                amount = rows.amount,
                amount_type = amount_type(&rows),
                table = rows.table,
                key = rows.key.name,
                key_type = rows.key.sql_type,
            )
        };
        let plain_source = source(&at(&rows), "");
        let source = source(&shared(&rows), joins(&rows));
        let checked = writes.clone();
        Self {
            rows,
            source,
            plain_source,
            checked,
            writes,
            stamps: Vec::new(),
            eligible: "true".to_owned(),
            known_by: None,
            leaves: false,
            others,
            hashed,
            checks_others: true,
            not_before: None,
        }
    }

    /// One pass: the lines of a finding, if they are wanted, before their total with the digest. With a run, it also
    /// writes its journal. `$1` goes into the digest.
    pub fn look(&self, detail: Detail, journal_of: Option<i64>) -> String {
        let journal = journal_of.map_or_else(String::new, |run| {
            format!(
                ",
                 journalled AS (
                     INSERT INTO migrate.repair_change (run_id, n, key, before, after, others)
                     SELECT {run}, pg_catalog.row_number() OVER (ORDER BY c.at, c.key), c.key, c.before, c.after, c.others
                     FROM candidates c
                 )"
            )
        });
        let (source, sets) = match detail {
            Detail::Lines => (&self.source, "(c.owner, c.day), ()"),
            Detail::Totals => (&self.plain_source, "()"),
        };
        format!(
            "WITH candidates AS MATERIALIZED ({source}){journal}
             SELECT {line}, pg_catalog.count(*), coalesce(pg_catalog.sum(c.amount_before), 0)::text,
                    coalesce(pg_catalog.sum(c.amount_after), 0)::text, pg_catalog.count(*) FILTER (WHERE c.counted),
                    pg_catalog.to_json(pg_catalog.min(c.at)) #>> '{{}}'::text[], pg_catalog.to_json(pg_catalog.max(c.at)) #>> '{{}}'::text[],
                    CASE WHEN {total} THEN pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(
                        '/', $1::text, pg_catalog.count(*),
                        pg_catalog.sum(pg_catalog.hashtextextended(c.key, pg_catalog.jsonb_hash_extended(c.before, 0))),
                        pg_catalog.sum(c.amount_after)
                    ), 'UTF8')), 'hex'), 12) END,
                    pg_catalog.count(*) FILTER (WHERE c.still),
                    pg_catalog.min(c.key) FILTER (WHERE c.still), pg_catalog.max(c.key) FILTER (WHERE c.still)
             FROM candidates c
             GROUP BY GROUPING SETS ({sets})
             ORDER BY {order}",
            line = if detail == Detail::Lines { "c.owner, c.day" } else { "NULL::text, NULL::text" },
            total = if detail == Detail::Lines { "grouping(c.day) = 1" } else { "true" },
            order = if detail == Detail::Lines { "grouping(c.day), c.owner, c.day" } else { "1" },
        )
    }

    /// The numbers of the next batch of run `$1` behind row `$2`, of at most `$3` rows.
    pub fn next() -> String {
        format!("SELECT coalesce(pg_catalog.array_agg(b.n ORDER BY b.n), '{{}}') FROM ({NEXT}) b")
    }

    /// Locks those of rows `$2` of run `$1` that nobody else has locked: their numbers.
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
             SELECT coalesce(pg_catalog.array_agg(l.n ORDER BY l.n), '{{}}') FROM locked l",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// Changes those rows of the next batch of run `$1` behind row `$2`, of at most `$3` rows, that are as they were:
    /// the numbers of the batch, and of those changed; into how many hours they fall, at most; and whether they say now what they
    /// were to say. Waits for whoever has one of them locked.
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
             SELECT coalesce((SELECT pg_catalog.array_agg(b.n ORDER BY b.n) FROM batch b), '{{}}'),
                    coalesce((SELECT pg_catalog.array_agg(a.n ORDER BY a.n) FROM applied a), '{{}}'),
                    (SELECT CASE WHEN pg_catalog.isfinite(pg_catalog.min(a.at)) AND pg_catalog.isfinite(pg_catalog.max(a.at))
                                 THEN least(pg_catalog.count(*), 1 + extract(epoch FROM pg_catalog.max(a.at) - pg_catalog.min(a.at))::bigint / 3600)
                                 ELSE pg_catalog.count(*) END
                     FROM applied a),
                    coalesce((SELECT pg_catalog.bool_and(a.as_meant) FROM applied a), true),
                    {on_time}",
            at = self.rows.at,
            key = key.name,
            key_type = key.sql_type,
            sets = sets.trim_end_matches(", "),
            checked = record(&self.checked, "u"),
            eligible = self.eligible,
        )
    }

    /// Those of rows `$2` of run `$1` that are gone.
    pub fn gone(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "SELECT coalesce(pg_catalog.array_agg(c.n ORDER BY c.n), '{{}}')
             FROM migrate.repair_change c
             WHERE {these}
               AND NOT EXISTS (SELECT FROM {table} u WHERE u.{key} = c.key::{key_type} OFFSET 0)",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// Keeps in the journal of run `$1` that every open row behind row `$2` up to row `$3` was changed. The common case, for
    /// which reading a range is enough.
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

    /// Keeps in the journal of run `$1` that rows `$2` were changed, rows `$3` left because they had changed, and rows
    /// `$4` because they are gone.
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

    /// What the journal of run `$1` adds up to: changed rows with their sums, rows left for either reason, rows not
    /// reached.
    pub fn sums(&self) -> String {
        let (amount, amount_type) = (self.rows.amount, amount_type(&self.rows));
        let counted = self
            .rows
            .counts
            .filter(|_| self.leaves)
            .map_or("false".to_owned(), |counts| self.of_journal(counts.condition));
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE c.applied_at IS NOT NULL),
                    coalesce(pg_catalog.sum((c.before ->> '{amount}'::text)::{amount_type}) FILTER (WHERE c.applied_at IS NOT NULL), 0)::text,
                    coalesce(pg_catalog.sum((c.after ->> '{amount}'::text)::{amount_type}) FILTER (WHERE c.applied_at IS NOT NULL), 0)::text,
                    pg_catalog.count(*) FILTER (WHERE c.applied_at IS NOT NULL AND {counted}),
                    pg_catalog.count(*) FILTER (WHERE c.left_because = 'changed'),
                    pg_catalog.count(*) FILTER (WHERE c.left_because = 'gone'),
                    pg_catalog.count(*) FILTER (WHERE c.applied_at IS NULL AND c.left_because IS NULL)
             FROM migrate.repair_change c
             WHERE c.run_id = $1"
        )
    }

    /// Rows that still are wrong after `run`; none if this change cannot leave any. What other runs have repaired is known by
    /// their journals; what this one has, must not meet the condition.
    pub fn left_over(&self, run: i64) -> Option<String> {
        let found = found(&self.eligible, &self.rows, self.known_by.as_deref(), Some(run));
        self.leaves.then(|| format!("SELECT pg_catalog.count(*) FROM {} u WHERE {found}", self.rows.table))
    }

    /// Rows of run `$1` that are neither as it left them nor as they were before it, and rows that are gone.
    pub fn since(rows: &Rows, then: Option<&[Present]>) -> String {
        let mut columns: Vec<Column> = rows.corrects.iter().map(|(column, _)| *column).collect();
        columns.extend(stamped(rows));
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE u.{key} IS NOT NULL AND NOT ({as_left})
                                       AND {now} <> pg_catalog.jsonb_build_object({before})),
                    pg_catalog.count(*) FILTER (WHERE u.{key} IS NULL)
             FROM migrate.repair_change c
             LEFT JOIN {table} u ON u.{key} = c.key::{key_type}
             WHERE c.run_id = $1 AND c.applied_at IS NOT NULL",
            as_left = as_left(&columns, then),
            key = rows.key.name,
            key_type = rows.key.sql_type,
            table = rows.table,
            now = record(&columns, "u"),
            before = given_back(&columns),
        )
    }

    /// Who has locked any of rows `$2` of run `$1`: the transaction that stands in the row itself.
    pub fn holder(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "SELECT l.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client, coalesce(a.xact_start, a.backend_start) AS since
             FROM migrate.repair_change c
             JOIN {table} u ON u.{key} = c.key::{key_type}
             JOIN pg_catalog.pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = u.xmax AND l.granted
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
             WHERE {these} AND l.pid IS NOT NULL
             ORDER BY 4 NULLS LAST
             LIMIT 1",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// The oldest transaction that has a write lock on the table and began before `$1`.
    pub fn straggler(&self) -> String {
        format!(
            "SELECT l.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client, a.xact_start AS since
             FROM pg_catalog.pg_locks l
             JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
             WHERE l.locktype = 'relation'
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
               AND l.relation = '{}'::regclass::oid
               AND l.mode = 'RowExclusiveLock'
               AND l.pid <> pg_catalog.pg_backend_pid()
               AND a.xact_start < $1::text::timestamptz
             ORDER BY a.xact_start
             LIMIT 1",
            self.rows.table
        )
    }

    /// The buckets of rows `$2` of run `$1`, put into the queue of the hourly rollup, for databases whose triggers do
    /// not report a change that leaves `updated_at` in the past.
    pub fn enqueue(&self) -> String {
        let Rows { table, key, .. } = &self.rows;
        format!(
            "INSERT INTO task_usage_hourly_dirty AS d (
                 bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, enqueued_at
             )
             SELECT DISTINCT task_usage_hour_bucket(u.created_at), a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
                    u.provider, u.model, pg_catalog.now()
             FROM migrate.repair_change c
             JOIN {table} u ON u.{key} = c.key::{key_type}
             JOIN agent_task_queue t ON t.id = u.task_id AND t.runtime_id IS NOT NULL
             JOIN agent a ON a.id = t.agent_id
             LEFT JOIN issue i ON i.id = t.issue_id
             WHERE {these}
             ORDER BY 1, 2, 3, 4, 5, 6, 7
             ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET
                 enqueued_at = least(d.enqueued_at, excluded.enqueued_at)",
            these = these("$2"),
            key = key.name,
            key_type = key.sql_type,
        )
    }

    /// Whether rows get back a time in the past.
    pub fn restores_times(&self) -> bool {
        self.stamps.is_empty() && !self.rows.stamps.is_empty()
    }

    /// Whether changed rows do not carry the time of their change.
    pub fn stamps_nothing(&self) -> bool {
        self.stamps.is_empty()
    }

    fn of_journal(&self, expression: &str) -> String {
        self.checked.iter().fold(expression.to_owned(), |text, Column { name, sql_type }| {
            text.replace(&format!("{{{name}}}"), &format!("(c.before ->> '{name}'::text)::{sql_type}"))
        })
    }
}
