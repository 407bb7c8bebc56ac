//! Numbers, times and durations as text.

use std::time::Duration;

use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::db::grouped;

/// A time in UTC, to the second.
#[must_use]
pub fn utc(at: OffsetDateTime) -> String {
    // Some tools record no time.
    if at == OffsetDateTime::UNIX_EPOCH {
        return "not recorded".to_owned();
    }
    at.to_offset(UtcOffset::UTC)
        .format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))
        .unwrap_or_else(|_| at.to_string())
}

/// `1 row`, `2 rows`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A duration: `12 ms`, `3.4 s`, `2m 5s`.
#[must_use]
pub fn short(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        millis @ 1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string(),
    }
}

/// A number of things with thousands separators: `1,000 rows`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A sum with thousands separators.
#[must_use]
pub fn sum(number: i128) -> String {
    let digits = u64::try_from(number.unsigned_abs()).map_or_else(|_| number.unsigned_abs().to_string(), grouped);
    if number < 0 { format!("-{digits}") } else { digits }
}
