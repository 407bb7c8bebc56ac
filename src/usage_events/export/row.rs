//! One row of the export, as the line that `COPY` takes.

use std::io::Write as _;

use csv::ByteRecord;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::columns::Columns;
use crate::metrics::METRICS;

/// How much of a wrong value is shown.
const SHOWN: usize = 40;

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// A row's window, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
}

/// Reads a row's window, the part that decides whether the row counts at all.
pub(super) fn window(record: &ByteRecord, columns: &Columns) -> Result<Window, String> {
    let start = time(record, columns.start, ["start_time", "start_time_iso"])?;
    let end = time(record, columns.end, ["end_time", "end_time_iso"])?;
    if end <= start {
        return Err(format!(
            "its window ends at {}, which is not after its start, {}",
            shown_time(end),
            shown_time(start)
        ));
    }
    Ok(Window { start, end })
}

/// Appends a row to what is sent to the server.
pub(super) fn write(record: &ByteRecord, columns: &Columns, window: Window, into: &mut Vec<u8>) -> Result<(), String> {
    let before = into.len();
    let written = (|| {
        for at in [window.start, window.end] {
            write_time(at, into);
            into.push(b'\t');
        }
        for (name, place) in [
            ("project_id", columns.project),
            ("user_id", columns.user),
            ("api_key_id", columns.key),
            ("model", columns.model),
            ("service_tier", columns.tier),
        ] {
            write_text(text(record, place, name)?, into);
            into.push(b'\t');
        }
        into.extend_from_slice(match text(record, columns.batch, "batch")? {
            "" => b"\\N",
            yes if ["true", "t", "1"].iter().any(|word| yes.eq_ignore_ascii_case(word)) => b"t",
            no if ["false", "f", "0"].iter().any(|word| no.eq_ignore_ascii_case(word)) => b"f",
            other => return Err(format!("batch is {}, which is neither true nor false", shown(other))),
        });
        for (metric, place) in METRICS.iter().zip(columns.metrics) {
            into.push(b'\t');
            let number = count(text(record, place, metric.name)?, metric.name)?;
            let _ = write!(into, "{number}");
        }
        into.push(b'\n');
        Ok(())
    })();
    if written.is_err() {
        into.truncate(before);
    }
    written
}

/// A field as text, without the space around it; empty where there is no such column.
fn text<'r>(record: &'r ByteRecord, place: Option<usize>, name: &str) -> Result<&'r str, String> {
    let Some(field) = place.and_then(|place| record.get(place)) else { return Ok("") };
    let text = std::str::from_utf8(field).map_err(|_| format!("{name} is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("{name} holds a NUL character"));
    }
    Ok(text.trim())
}

fn count(text: &str, name: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    // Programs that know one kind of number write 12.0.
    let whole = text.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0'));
    let digits = whole.map_or(text, |(whole, _)| whole);
    match digits.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("{name} is negative: {}", shown(text))),
        Ok(number) => Ok(number),
        Err(_) if digits.len() > 18 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Err(format!("{name} does not fit in 64 bits: {}", shown(text)))
        }
        Err(_) => Err(format!("{name} is {}, which is no whole number", shown(text))),
    }
}

/// A time that is written as Unix seconds, or with its zone; where both are there, they must agree.
fn time(record: &ByteRecord, places: [Option<usize>; 2], names: [&str; 2]) -> Result<i64, String> {
    let unix = match text(record, places[0], names[0])? {
        "" => None,
        text => {
            let seconds = count(text, names[0])?;
            if seconds > LAST_SECOND {
                return Err(format!("{} is {}, which is too late for Unix seconds", names[0], shown(text)));
            }
            Some(seconds * 1_000_000)
        }
    };
    let iso = match text(record, places[1], names[1])? {
        "" => None,
        text => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|time| (1..9999).contains(&time.year()));
            let time =
                time.ok_or_else(|| format!("{} is {}, not such as 2026-01-31T00:00:00Z", names[1], shown(text)))?;
            Some(i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or_default())
        }
    };
    match (unix, iso) {
        (Some(unix), Some(iso)) if unix / 1_000_000 != iso.div_euclid(1_000_000) => {
            Err(format!("{} is {}, and {} is {}", names[0], shown_time(unix), names[1], shown_time(iso)))
        }
        (_, Some(time)) | (Some(time), None) => Ok(time),
        (None, None) => Err(format!("{} is empty", names[usize::from(places[0].is_none())])),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn shown_time(at: i64) -> String {
    let mut text = Vec::new();
    write_time(at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn write_time(at: i64, into: &mut Vec<u8>) {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    let month = u8::from(month);
    let _ = write!(into, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if micro > 0 {
        let _ = write!(into, ".{micro:06}");
    }
    into.extend_from_slice(b"+00");
}

/// Empty and missing are the same.
fn write_text(text: &str, into: &mut Vec<u8>) {
    if text.is_empty() {
        into.extend_from_slice(b"\\N");
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => into.extend_from_slice(b"\\\\"),
            b'\t' => into.extend_from_slice(b"\\t"),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            byte => into.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_that_fits() {
        for (text, number) in [("", 0), ("0", 0), ("12", 12), ("12.0", 12), ("9223372036854775807", i64::MAX)] {
            assert_eq!(count(text, "n"), Ok(number));
        }
        for (text, reason) in [
            ("-1", "n is negative: \"-1\""),
            ("1.5", "n is \"1.5\", which is no whole number"),
            ("1e9", "n is \"1e9\", which is no whole number"),
            ("9223372036854775808", "n does not fit in 64 bits: \"9223372036854775808\""),
        ] {
            assert_eq!(count(text, "n").unwrap_err(), reason);
        }
    }

    #[test]
    fn a_time_is_unix_or_has_a_zone_and_both_agree() {
        let time = |unix: &str, iso: &str| time(&ByteRecord::from(vec![unix, iso]), [Some(0), Some(1)], ["t", "t_iso"]);
        let day = 1_767_225_600_000_000;
        assert_eq!(time("1767225600", ""), Ok(day));
        assert_eq!(time("", "2026-01-01T01:00:00+01:00"), Ok(day));
        assert_eq!(time("1767225600.0", "2026-01-01T00:00:00Z"), Ok(day));
        for (unix, iso, reason) in [
            ("", "", "t is empty"),
            ("1767225600000", "", "t is \"1767225600000\", which is too late for Unix seconds"),
            ("", "2026-01-01", "t_iso is \"2026-01-01\", not such as 2026-01-31T00:00:00Z"),
            ("1767225600", "2026-01-01T00:00:01Z", "t is 2026-01-01 00:00:00+00, and t_iso is 2026-01-01 00:00:01+00"),
        ] {
            assert_eq!(time(unix, iso).unwrap_err(), reason);
        }
    }

    #[test]
    fn text_is_escaped_as_copy_reads_it() {
        let written = |text: &str| {
            let mut into = Vec::new();
            write_text(text, &mut into);
            String::from_utf8(into).unwrap()
        };
        assert_eq!(written(""), "\\N");
        assert_eq!(written("\\N"), "\\\\N");
        assert_eq!(written("a\tb\r\nc"), "a\\tb\\r\\nc");
    }
}
