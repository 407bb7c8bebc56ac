//! The rollup, for a person.

use std::time::Duration;

use crate::cli::Screen;
use crate::cli::text::{BOLD, PLAIN, RED, RESET, Text, YELLOW, text};
use crate::cli::words::{counted, short, utc};
use crate::db::grouped;
use crate::usage::{Bucket, Cron, CronJob, KeptOut, Standing, Tick, Way};

/// What a tick did.
pub(super) fn said_of(tick: &Tick) -> String {
    match tick {
        Tick::Busy { holder } => {
            let holder = holder.as_ref().map(|holder| format!(": {holder}")).unwrap_or_default();
            format!("another rollup is running, nothing done{holder}")
        }
        Tick::Done { buckets, watermark, lag, advanced, duration } => {
            let did = match buckets {
                0 => "nothing to roll up".to_owned(),
                1 => "rolled up 1 bucket".to_owned(),
                _ => format!("rolled up {} buckets", grouped(*buckets)),
            };
            let held = if *advanced { "" } else { ", where it was" };
            format!(
                "{did} in {}; the watermark is at {}{held}, {} ago",
                short(*duration),
                to_the_second(watermark),
                ago(*lag)
            )
        }
    }
}

pub(super) fn standing(standing: &Standing, ways: &[Way], screen: &Screen) {
    let line = |label: &str, text: Text| screen.out(text!("{BOLD}{label:<13}{RESET} {text}"));
    if let Some(what) = &standing.pipeline.unknown {
        line("in force", said_of_unknown(what).into());
    } else if let Some(fault) = standing.pipeline.fault() {
        line("in force", text!("{RED}{fault}{RESET}; next: {}", screen.command("up")));
    }
    let at = to_the_second(&standing.watermark);
    if standing.lag < -1.0 {
        line(
            "watermark",
            text!(
                "{at}, {RED}ahead of the clock{RESET}: nothing new is rolled up; next: {}",
                screen.command("rollup tick")
            ),
        );
    } else {
        line("watermark", text!("{at}, {} ago", ago(standing.lag)));
    }
    let oldest = standing.queued_since.map(|since| format!(", the oldest from {}", utc(since))).unwrap_or_default();
    line("queue", text!("{}{oldest}", counted(standing.queued.unsigned_abs(), "report")));
    line(
        "last tick",
        match (standing.last_run_finished_at, standing.last_run_rows) {
            (Some(at), Some(rows)) => text!("{}, {}", utc(at), counted(rows.unsigned_abs(), "bucket")),
            (Some(at), None) => utc(at).into(),
            (None, _) => "never".into(),
        },
    );
    if standing.too_large > 0 {
        let them = counted(standing.too_large, "bucket");
        line(
            "kept out",
            text!("{RED}{them}{RESET}, too large; when their usage is corrected, the next tick writes them"),
        );
        for kept_out in &standing.kept_out {
            line("", said_of_kept_out(kept_out).into());
        }
        if let Some(KeptOut { bucket, sums, .. }) = standing.kept_out.first() {
            line("", sums.look(bucket.bucket_hour).into());
        }
    }
    line("last error", standing.last_error.as_deref().unwrap_or("none").into());
    if let Some(holder) = &standing.held_back_by {
        let who = match holder.pid {
            0 => "a prepared transaction, see pg_prepared_xacts".to_owned(),
            _ => format!("{holder}, whose transaction is writing usage"),
        };
        line("held back by", who.into());
    }
    let scheduling = &standing.scheduling;
    let mut by: Vec<Text> = scheduling.jobs.iter().map(|job| said_of_job(job).into()).collect();
    let watching = screen.command("rollup watch");
    by.extend(scheduling.watches.iter().map(|watch| text!("{watching}, {watch}")));
    if by.is_empty() && scheduling.ticked_lately {
        by.push("a caller not visible to this role: the last tick ended less than 15 minutes ago".into());
    }
    if by.is_empty() {
        by.push(text!("{YELLOW}nobody{RESET}, as far as this role can see"));
    }
    for (at, text) in by.into_iter().enumerate() {
        line(if at == 0 { "scheduled by" } else { "" }, text);
    }
    if scheduling.may_have_more_jobs {
        line("", "pg_cron may have jobs of other roles, which this role cannot see".into());
    }
    if let Cron::In(home) = &scheduling.cron {
        line("", text!("pg_cron keeps its jobs in database {home}, which this program does not read"));
    }
    if !scheduling.is_called() {
        for way in ways {
            line("", text!("{}: {}", way.place, way.command));
        }
    }
}

fn said_of_kept_out(kept_out: &KeptOut) -> String {
    let KeptOut { bucket: Bucket { bucket_hour, workspace_id, provider, model, .. }, sums, .. } = kept_out;
    let hour = utc(*bucket_hour);
    format!("{} UTC  workspace {workspace_id}, {provider} {model}: {sums}", hour.strip_suffix(":00").unwrap_or(&hour))
}

fn said_of_job(job: &CronJob) -> String {
    let name = job.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let active = if job.active { "" } else { ", switched off" };
    let last = job.last_run.as_ref().map_or(", has not run yet".to_owned(), |last| format!(", last run {last}"));
    format!("pg_cron job {}{name} ({}){active}{last}", job.id, job.schedule)
}

pub(super) fn not_scheduled(ways: &[Way], screen: &Screen) {
    screen
        .aside_in(YELLOW, "nothing seems to call the hourly rollup, so it will not include new usage; to schedule it");
    for (at, way) in ways.iter().enumerate() {
        let or = if at == 0 { "" } else { "or, " };
        screen.aside_in(PLAIN, text!("  {or}{}: {}", way.place, way.command));
    }
}

/// Why `migrate up` has to be run, if it has.
pub(super) fn fault(fault: Option<String>, screen: &Screen) {
    if let Some(fault) = fault {
        screen.out(text!("{RED}{fault}{RESET}; next: {}", screen.command("up")));
    }
}

pub(super) fn said_of_unknown(what: &str) -> String {
    format!(
        "{what}, which this build does not know, so it does not judge the rollup in force; upgrade to a newer build of this program"
    )
}

/// A time as the server writes it in UTC, without the fraction of a second.
fn to_the_second(time: &str) -> String {
    match time.strip_suffix("+00") {
        Some(time) => format!("{} UTC", time.split('.').next().unwrap_or(time)),
        None => time.to_owned(),
    }
}

/// A time span for people, from seconds.
pub(super) fn ago(seconds: f64) -> String {
    if seconds >= 1e12 {
        return "an infinite time".to_owned();
    }
    let seconds = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    // Over an hour, seconds do not matter.
    let rounded = if seconds < 3600 { seconds } else { seconds - seconds % 60 };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}
