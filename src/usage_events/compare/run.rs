//! Comparing, and putting the result together.

use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::error::CompareError;
use super::load::{Reading, load};
use super::report::{Counts, Day, Identity, Mismatch, Missing, Numbers, ReadFile, Report, Sides};
use super::statements::{self, Repeated, Table};
use crate::db::{self, Connection, Connector, Observer, Purpose, Transaction};
use crate::export::{Export, Range, Source};
use crate::metrics::{COUNT, METRICS};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The files.
    pub sources: Vec<Source>,
    /// The windows that count.
    pub range: Range,
    /// How many examples of each kind the report lists.
    pub limit: u64,
}

/// How much memory the server may use for each step of the comparison, which is one hash join.
const MEMORY: &str = "SET LOCAL work_mem TO '64MB'; SET LOCAL enable_mergejoin TO off; SET LOCAL jit TO off";

/// Compares an export with what is recorded. Writes nothing but temporary tables of its own session; the database is seen as it
/// is at one moment, whoever writes meanwhile.
///
/// # Errors
///
/// [`CompareError`]. An export of which a part cannot be read has no result.
pub async fn compare(
    connector: &Connector,
    comparison: &Comparison,
    observer: &Observer<Reading>,
) -> Result<Report, CompareError> {
    let connection = connector.connect("migrate: verify usage").await?;
    db::refuse_superuser(&connection, &["usage_events"], &[], Purpose::Look).await?;
    let table = table(&connection).await?;
    let mut export = Export::new(comparison.sources.clone(), comparison.range);
    load(&connection, &mut export, observer).await?;
    let found = {
        let snapshot = connection.begin_snapshot().await?;
        let found = look(&snapshot, table, comparison).await;
        snapshot.rollback().await;
        found
    };
    let found = match found {
        Err(error) if error.is(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE) => {
            return Err(overflow(&connection, table, comparison.range).await?);
        }
        found => found?,
    };
    connection.close().await;
    let strings = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<Vec<_>>();
    let Range { from, to } = comparison.range;
    let read = |source: &Source| ReadFile { file: source.path.display().to_string(), bytes: source.bytes };
    let mut report = Report {
        made_at: OffsetDateTime::now_utc(),
        database: connector.database().to_string(),
        from,
        to,
        files: comparison.sources.iter().map(read).collect(),
        unknown_columns: export.unknown.iter().cloned().collect(),
        absent_columns: strings(&mut export.absent.iter().copied()),
        unended_files: export.unended.clone(),
        has_windows: table == Table::WithWindows,
        outside: export.outside,
        limit: comparison.limit,
        ..found
    };
    add_up(&mut report)?;
    Ok(report)
}

/// Whether there is a table to compare with, and whether it has windows.
async fn table(connection: &Connection) -> Result<Table, CompareError> {
    const TABLE: &str = "
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = t.oid AND a.attname = 'window_start' AND NOT a.attisdropped
        ) AS has_windows
        FROM (SELECT pg_catalog.to_regclass('usage_events')::oid AS oid) t
        WHERE t.oid IS NOT NULL";
    match connection.query_opt(TABLE, &[]).await? {
        None => Err(CompareError::NoTable),
        Some(row) if row.get("has_windows") => Ok(Table::WithWindows),
        Some(_) => Ok(Table::WithoutWindows),
    }
}

/// What the server finds.
async fn look(snapshot: &Transaction<'_>, table: Table, comparison: &Comparison) -> Result<Report, db::Error> {
    let Comparison { range: Range { from, to }, limit, .. } = comparison;
    snapshot.batch(MEMORY).await?;
    let rows = snapshot.query(&statements::days(table), &[from, to]).await?;
    let days = rows.iter().map(day).collect::<Result<Vec<_>, db::Error>>()?;
    let counts = differ(snapshot, table, comparison.range).await?;
    let [missing_in_db, missing_in_csv] =
        [missing(snapshot, "db", *limit).await?, missing(snapshot, "csv", *limit).await?];
    Ok(Report {
        made_at: OffsetDateTime::UNIX_EPOCH,
        database: String::new(),
        from: None,
        to: None,
        files: Vec::new(),
        unknown_columns: Vec::new(),
        absent_columns: Vec::new(),
        unended_files: Vec::new(),
        has_windows: true,
        outside: 0,
        rows: Sides::default(),
        totals: Sides::default(),
        counts,
        missing_in_db,
        missing_in_csv,
        mismatched: mismatched(snapshot, *limit).await?,
        limit: *limit,
        days,
    })
}

/// Finds the differences, and counts them.
async fn differ(snapshot: &Transaction<'_>, table: Table, range: Range) -> Result<Counts, db::Error> {
    let Range { from, to } = range;
    let is_repeated = async |side: Option<Table>| {
        let row = snapshot.query_one(&statements::repeated(side), &[&from, &to]).await?;
        row.try_get("is_repeated").map_err(db::Error::from)
    };
    let repeated = Repeated { export: is_repeated(None).await?, database: is_repeated(Some(table)).await? };
    snapshot.execute(&statements::differences(table, repeated), &[&from, &to]).await?;
    let row = snapshot.query_one(include_str!("counts.sql"), &[]).await?;
    let number = |name: &str| Ok::<_, db::Error>(row.try_get::<_, i64>(name)?.unsigned_abs());
    Ok(Counts {
        missing_in_db: number("missing_in_db")?,
        missing_in_csv: number("missing_in_csv")?,
        mismatched: number("mismatched")?,
        mismatched_windows: number("mismatched_windows")?,
    })
}

/// Leaves the differences in this session's temporary table, for an import. How many rows the export has, and what differs.
pub(crate) async fn find_missing(
    connection: &Connection,
    comparison: &Comparison,
    observer: &Observer<Reading>,
) -> Result<(u64, Counts), CompareError> {
    let table = table(connection).await?;
    if table == Table::WithoutWindows {
        return Err(CompareError::NoWindows);
    }
    let mut export = Export::new(comparison.sources.clone(), comparison.range);
    load(connection, &mut export, observer).await?;
    let snapshot = connection.begin_snapshot().await?;
    snapshot.batch(MEMORY).await?;
    match differ(&snapshot, table, comparison.range).await {
        Ok(counts) => {
            snapshot.commit().await?;
            Ok((export.rows, counts))
        }
        Err(error) => {
            snapshot.rollback().await;
            if error.is(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE) {
                return Err(overflow(connection, table, comparison.range).await?);
            }
            Err(error.into())
        }
    }
}

/// The beginning of a query for differences.
const DIFFERENCES: &str = "
    SELECT d.window_start, d.window_end, d.project_id, d.user_id, d.api_key_id, d.model, d.service_tier, d.batch, d.export,
           d.recorded
    FROM pg_temp.usage_difference d";

/// Their order.
const IN_ORDER: &str = "ORDER BY d.window_start, d.window_end, d.project_id, d.api_key_id, d.user_id, d.model, d.service_tier, d.batch LIMIT $1";

async fn missing(snapshot: &Transaction<'_>, side: &str, limit: u64) -> Result<Vec<Missing>, db::Error> {
    let sql = format!("{DIFFERENCES} WHERE d.missing_in = '{side}' {IN_ORDER}");
    let rows = snapshot.query(&sql, &[&limit.cast_signed()]).await?;
    let read = |row: &Row| {
        let values = numbers(row, if side == "db" { "export" } else { "recorded" })?;
        Ok(Missing { identity: identity(row)?, values })
    };
    rows.iter().map(read).collect()
}

async fn mismatched(snapshot: &Transaction<'_>, limit: u64) -> Result<Vec<Mismatch>, db::Error> {
    let sql = format!("{DIFFERENCES} WHERE d.missing_in IS NULL {IN_ORDER}");
    let rows = snapshot.query(&sql, &[&limit.cast_signed()]).await?;
    let mut mismatched = Vec::new();
    for row in rows {
        let (identity, csv, db) = (identity(&row)?, numbers(&row, "export")?, numbers(&row, "recorded")?);
        let sides = METRICS.iter().zip(csv.0.into_iter().zip(db.0));
        mismatched.extend(sides.filter(|(_, (csv, db))| csv != db).map(|(metric, (csv, db))| {
            let metric = metric.name;
            Mismatch { identity: identity.clone(), metric, csv, db }
        }));
    }
    mismatched.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(mismatched)
}

fn identity(row: &Row) -> Result<Identity, db::Error> {
    Ok(Identity {
        window_start: row.try_get("window_start")?,
        window_end: row.try_get("window_end")?,
        project_id: row.try_get("project_id")?,
        user_id: row.try_get("user_id")?,
        api_key_id: row.try_get("api_key_id")?,
        model: row.try_get("model")?,
        service_tier: row.try_get("service_tier")?,
        batch: row.try_get("batch")?,
    })
}

fn day(row: &Row) -> Result<Day, db::Error> {
    let rows = |name: &str| Ok::<_, db::Error>(row.try_get::<_, i64>(name)?.unsigned_abs());
    Ok(Day {
        day: row.try_get("day")?,
        rows: Sides { csv: rows("rows_of_export")?, db: rows("rows_of_database")? },
        totals: Sides { csv: numbers(row, "export")?, db: numbers(row, "recorded")? },
    })
}

/// The numbers of one side, zeros where it has none.
fn numbers(row: &Row, side: &str) -> Result<Numbers, db::Error> {
    let numbers: Option<Vec<i64>> = row.try_get(side)?;
    Ok(numbers.and_then(|numbers| <[i64; COUNT]>::try_from(numbers).ok()).map(Numbers).unwrap_or_default())
}

/// The totals, of the days.
fn add_up(report: &mut Report) -> Result<(), CompareError> {
    let add = |sum: &mut Numbers, more: &Numbers| {
        sum.0.iter_mut().zip(more.0).try_for_each(|(sum, more)| {
            *sum = sum.checked_add(more)?;
            Some(())
        })
    };
    for day in &report.days {
        report.rows.csv += day.rows.csv;
        report.rows.db += day.rows.db;
        add(&mut report.totals.csv, &day.totals.csv).ok_or(CompareError::TotalOverflow)?;
        add(&mut report.totals.db, &day.totals.db).ok_or(CompareError::TotalOverflow)?;
    }
    Ok(())
}

/// Which window does not fit.
async fn overflow(connection: &Connection, table: Table, range: Range) -> Result<CompareError, CompareError> {
    let Range { from, to } = range;
    for (side, table) in [("exported", None), ("recorded", Some(table))] {
        if let Some(row) = connection.query_opt(&statements::overflow(table), &[&from, &to]).await? {
            let [start, model, project] = ["window_start", "model", "project_id"].map(|name| row.get(name));
            return Ok(CompareError::Overflow { side, start, model, project });
        }
    }
    Ok(CompareError::TotalOverflow)
}
