//! The SQL of a repair, built from its author's description of the rows.
//!
//! A large table is read by the inspection (one pass), by the batches (by key; only index lookups are enabled, so that the
//! plan does not depend on statistics), and by the final count (one pass).

use super::columns::{self, Present};
use super::expressions::{as_left, at, found, given_back, joins, of_journal, record, shared};
use super::rows::{Column, Rows};
use crate::db::{self, Connection, Holder};

/// How detailed a finding is. The owner of a row costs joins, the lines cost a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Totals,
    Lines,
}

/// The settings for a pass over the whole table. It sorts and joins all rows to repair: the default `work_mem` of 4 MB is
/// too small for that, and joins must use a hash even if the statistics expect few rows.
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
    /// `counted`, `others` and `still` (the row meets the condition even after its correction).
    source: String,
    /// The same without owner and day.
    plain_source: String,
    /// The columns that must be unchanged when the run reaches the row.
    pub checked: Vec<Column>,
    /// The columns that are set from the journal.
    pub writes: Vec<Column>,
    /// The columns that are set to the time of the change.
    pub stamps: Vec<&'static str>,
    /// The condition on `u`.
    pub eligible: String,
    /// The condition for the journal's rows of earlier runs of this repair, if there is a journal.
    known_by: Option<String>,
    /// Whether rows can be left that should have been changed.
    leaves: bool,
    /// A hash of the columns of `u` that are not changed, and these columns.
    pub others: String,
    pub hashed: Vec<Present>,
    /// Whether these columns must be unchanged, too, when the run reaches the row.
    pub checks_others: bool,
    /// No row may be changed while the clock shows an earlier time than this.
    pub not_before: Option<String>,
}

impl Change {
    /// Corrects the wrong rows.
    ///
    /// A repaired row carries the time of its repair, so with a later cutoff it would meet the condition again. The journal
    /// rows `known_by` exclude it, unless other numbers were written to it since.
    pub fn repair(rows: Rows, present: &[Present], eligible: String, known_by: Option<String>) -> Self {
        let stamps = rows.stamps.clone();
        let writes: Vec<Column> = rows.corrected().collect();
        let mut checked = writes.clone();
        checked.extend(rows.stamped());
        checked.extend(&rows.rests_on);
        let corrected: Vec<(&str, String)> = rows
            .corrects
            .iter()
            .map(|(column, becomes)| (column.name, format!("({becomes})::{}", column.sql_type)))
            .collect();
        let becomes: Vec<String> = corrected.iter().map(|(name, value)| format!("'{name}', {value}")).collect();
        let mut instead = corrected.clone();
        instead.extend(stamps.iter().map(|name| (*name, "pg_catalog.now()".to_owned())));
        let amount_after = rows.corrects.first().map_or("0", |(_, becomes)| *becomes);
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
                amount = rows.amount().name,
                counted = rows.counts.map_or("false", |counts| counts.condition),
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

    /// Restores the before-image of each row that still is as `run` left it. `then` are the columns that its journal has a
    /// hash of, if all of them still exist.
    pub fn undo(rows: Rows, present: &[Present], run: i64, then: Option<&[Present]>) -> Self {
        let writes: Vec<Column> = rows.corrected().chain(rows.stamped()).collect();
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
                amount = rows.amount().name,
                amount_type = rows.amount().sql_type,
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

    /// This change, made by the run that began at this time, if its rows carry the time of their change.
    pub fn not_before(self, began: String) -> Self {
        let not_before = (!self.stamps_nothing()).then_some(began);
        Self { not_before, ..self }
    }

    /// One pass: the lines of a finding, if they are wanted, then their total with the digest. With a run, it also
    /// writes the run's journal. `$1` is part of the digest.
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
             SELECT {line}, pg_catalog.count(*) AS rows, coalesce(pg_catalog.sum(c.amount_before), 0)::text AS before,
                    coalesce(pg_catalog.sum(c.amount_after), 0)::text AS after,
                    pg_catalog.count(*) FILTER (WHERE c.counted) AS counted,
                    pg_catalog.to_json(pg_catalog.min(c.at)) #>> '{{}}'::text[] AS first,
                    pg_catalog.to_json(pg_catalog.max(c.at)) #>> '{{}}'::text[] AS last,
                    CASE WHEN {total} THEN pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(
                        '/', $1::text, pg_catalog.count(*),
                        pg_catalog.sum(pg_catalog.hashtextextended(c.key, pg_catalog.jsonb_hash_extended(c.before, 0))),
                        pg_catalog.sum(c.amount_after)
                    ), 'UTF8')), 'hex'), 12) END AS digest,
                    pg_catalog.count(*) FILTER (WHERE c.still) AS still,
                    pg_catalog.min(c.key) FILTER (WHERE c.still) AS first_still,
                    pg_catalog.max(c.key) FILTER (WHERE c.still) AS last_still
             FROM candidates c
             GROUP BY GROUPING SETS ({sets})
             ORDER BY {order}",
            line = if detail == Detail::Lines { "c.owner, c.day" } else { "NULL::text AS owner, NULL::text AS day" },
            total = if detail == Detail::Lines { "grouping(c.day) = 1" } else { "true" },
            order = if detail == Detail::Lines { "grouping(c.day), c.owner, c.day" } else { "digest" },
        )
    }

    /// The sums of the journal of run `$1`: changed rows with their totals, rows left for either reason, rows not reached.
    pub fn sums(&self) -> String {
        let Column { name: amount, sql_type: amount_type } = self.rows.amount();
        let counted = self
            .rows
            .counts
            .filter(|_| self.leaves)
            .map_or("false".to_owned(), |counts| of_journal(counts.condition, &self.checked));
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE c.applied_at IS NOT NULL) AS rows,
                    coalesce(pg_catalog.sum((c.before ->> '{amount}'::text)::{amount_type})
                                 FILTER (WHERE c.applied_at IS NOT NULL), 0)::text AS before,
                    coalesce(pg_catalog.sum((c.after ->> '{amount}'::text)::{amount_type})
                                 FILTER (WHERE c.applied_at IS NOT NULL), 0)::text AS after,
                    pg_catalog.count(*) FILTER (WHERE c.applied_at IS NOT NULL AND {counted}) AS counted,
                    pg_catalog.count(*) FILTER (WHERE c.left_because = 'changed') AS changed,
                    pg_catalog.count(*) FILTER (WHERE c.left_because = 'gone') AS gone,
                    pg_catalog.count(*) FILTER (WHERE c.applied_at IS NULL AND c.left_because IS NULL) AS waiting
             FROM migrate.repair_change c
             WHERE c.run_id = $1"
        )
    }

    /// Rows that are still wrong after `run`; none if this change cannot leave any. The journals of other runs exclude what
    /// those repaired; rows that this run repaired must not meet the condition.
    pub fn left_over(&self, run: i64) -> Option<String> {
        let found = found(&self.eligible, &self.rows, self.known_by.as_deref(), Some(run));
        self.leaves.then(|| format!("SELECT pg_catalog.count(*) AS rows FROM {} u WHERE {found}", self.rows.table))
    }

    /// Rows of run `$1` that are neither as it left them nor as they were before it, and rows that were deleted.
    pub fn since(rows: &Rows, then: Option<&[Present]>) -> String {
        let columns: Vec<Column> = rows.corrected().chain(rows.stamped()).collect();
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE u.{key} IS NOT NULL AND NOT ({as_left})
                                       AND {now} <> pg_catalog.jsonb_build_object({before})) AS changed,
                    pg_catalog.count(*) FILTER (WHERE u.{key} IS NULL) AS gone
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

    /// The oldest transaction that has a write lock on the table and began before `$1`.
    fn long_transaction(&self) -> String {
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

    /// Looks for that transaction.
    pub async fn find_long_transaction(
        &self,
        connection: &Connection,
        cutoff: &str,
    ) -> Result<Option<Holder>, db::Error> {
        let row = connection.query_opt(&self.long_transaction(), &[&cutoff]).await?;
        Ok(row.map(|row| Holder::from_row(&row)))
    }

    /// Whether rows get a time in the past again.
    pub fn restores_times(&self) -> bool {
        self.stamps.is_empty() && !self.rows.stamps.is_empty()
    }

    /// Whether changed rows do not carry the time of their change.
    pub fn stamps_nothing(&self) -> bool {
        self.stamps.is_empty()
    }
}
