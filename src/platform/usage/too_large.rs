//! Buckets with a sum that exceeds a bigint. They are kept out of `task_usage_hourly` until their usage is corrected: a wrong
//! number would be worse than none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::bucket::Bucket;
use super::pipeline::has_table;
use crate::db::{Connection, Error, in_calendar};

/// How many of them are shown.
const SHOWN: i64 = 10;

/// The sums that do not fit, in full, by the names of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TooLarge(BTreeMap<String, String>);

impl TooLarge {
    /// Reads an object of texts.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let reason = |error| Error::Conversion { reason: format!("sums that are too large cannot be read: {error}") };
        serde_json::from_str(text).map(Self).map_err(reason)
    }

    /// The command that lists the largest rows of this hour.
    #[must_use]
    pub fn look(&self, hour: OffsetDateTime) -> String {
        let cost = if self.0.contains_key("cost_usd_ticks") { ", cost_usd_ticks" } else { "" };
        let counts = format!("input_tokens, output_tokens, cache_read_tokens, cache_write_tokens{cost}");
        let sizes: Vec<_> = counts.split(", ").map(|column| format!("pg_catalog.abs({column}::numeric)")).collect();
        let at = |time: OffsetDateTime| format!("{} {:02}:00Z", time.date(), time.hour());
        format!(
            "psql \"$DATABASE_URL\" -c \"SELECT id, task_id, provider, model, {counts} FROM task_usage WHERE created_at >= \
             '{}' AND created_at < '{}' ORDER BY greatest({}) DESC LIMIT 10\"",
            at(hour),
            at(hour + time::Duration::HOUR),
            sizes.join(", ")
        )
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums: Vec<_> = self.0.iter().map(|(column, sum)| format!("{column} {sum}")).collect();
        write!(f, "more than a bigint holds: {}", sums.join(", "))
    }
}

/// A bucket that is kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptOut {
    /// Which.
    #[serde(flatten)]
    pub bucket: Bucket,
    /// Why.
    pub sums: TooLarge,
    /// When the rollup last tried to write it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub seen_at: Option<OffsetDateTime>,
}

/// How many buckets are kept out, and the latest of them.
pub(super) async fn kept_out(connection: &Connection) -> Result<(u64, Vec<KeptOut>), Error> {
    if !has_table(connection, "task_usage_hourly_too_large").await? {
        return Ok((0, Vec::new()));
    }
    let sql = include_str!("too_large.sql")
        .replace("{hour}", &in_calendar("k.bucket_hour"))
        .replace("{seen}", &in_calendar("k.seen_at"));
    let rows = connection.query(&sql, &[&SHOWN]).await?;
    let all = rows.first().map_or(0, |row| row.get::<_, i64>("all_kept_out").unsigned_abs());
    let mut shown = Vec::new();
    for row in &rows {
        if row.try_get::<_, Option<OffsetDateTime>>("bucket_hour")?.is_none() {
            continue;
        }
        let sums = TooLarge::parse(row.try_get("sums")?)?;
        shown.push(KeptOut { bucket: Bucket::from_row(row)?, sums, seen_at: row.try_get("seen_at")? });
    }
    Ok((all, shown))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::TooLarge;

    #[test]
    fn the_command_names_the_hour_and_the_columns_that_there_are() {
        let sums = TooLarge::parse(r#"{"input_tokens": "18446744073709551614"}"#).unwrap();
        assert_eq!(sums.to_string(), "more than a bigint holds: input_tokens 18446744073709551614");
        let look = sums.look(datetime!(2026-03-01 23:00 UTC));
        assert!(look.contains("created_at >= '2026-03-01 23:00Z' AND created_at < '2026-03-02 00:00Z'"), "{look}");
        assert!(!look.contains("cost"), "{look}");
        let sums = TooLarge::parse(r#"{"cost_usd_ticks": "18446744073709551614"}"#).unwrap();
        assert!(sums.look(datetime!(2026-03-01 23:00 UTC)).contains("cache_write_tokens, cost_usd_ticks FROM"));
    }
}
