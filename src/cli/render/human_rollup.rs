//! The rollup, for a person.

use std::time::Duration;

use time::OffsetDateTime;

use super::super::failure::Failure;
use super::human::{self, aside, aside_in, count, out, short, utc};
use super::text::{BOLD, DIM, NL, PLAIN, RED, RESET, Text, YELLOW, text};
use crate::db::Database;
use crate::usage::{
    Bucket, Comparison, Cost, Cron, CronJob, Difference, KeptOut, Kind, Pass, Standing, Sums, Tick, Tokens, Way,
    grouped,
};

pub(super) fn tick(tick: &Tick) {
    out(said_of(tick));
}

pub(super) fn watching(database: &Database, every: Duration) {
    aside(text!("ticking every {} on {database}", humantime::format_duration(every)));
}

pub(super) fn watched(tick: &Tick) {
    out(text!("{}  {}", utc(OffsetDateTime::now_utc()), said_of(tick)));
}

pub(super) fn watch_failed(failure: &Failure, again_in: Duration) {
    human::failure(failure);
    let (now, again_in) = (utc(OffsetDateTime::now_utc()), humantime::format_duration(again_in));
    aside(text!("{now}  it is tried again in {again_in}"));
}

pub(super) fn watch_ended() {
    aside("told to stop");
}

fn said_of(tick: &Tick) -> String {
    match tick {
        Tick::Busy { holder } => {
            let holder = holder.as_ref().map(|holder| format!(": {holder}")).unwrap_or_default();
            format!("another rollup is at work, nothing done{holder}")
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

pub(super) fn standing(standing: &Standing, ways: &[Way]) {
    let line = |label: &str, text: Text| out(text!("{BOLD}{label:<13}{RESET} {text}"));
    if let Some(what) = &standing.pipeline.unknown {
        line("in force", said_of_unknown(what).into());
    } else if let Some(fault) = standing.pipeline.fault() {
        line("in force", text!("{RED}{fault}{RESET}; next: migrate up"));
    }
    let at = to_the_second(&standing.watermark);
    if standing.lag < -1.0 {
        line(
            "watermark",
            text!("{at}, {RED}ahead of the clock{RESET}: nothing new is rolled up; next: migrate rollup tick"),
        );
    } else {
        line("watermark", text!("{at}, {} ago", ago(standing.lag)));
    }
    let oldest = standing.queued_since.map(|since| format!(", the oldest from {}", utc(since))).unwrap_or_default();
    let queued = usize::try_from(standing.queued).unwrap_or_default();
    line("queue", text!("{}{oldest}", count(queued, "report")));
    line(
        "last tick",
        match (standing.last_run_finished_at, standing.last_run_rows) {
            (Some(at), Some(rows)) => text!("{}, {}", utc(at), count(usize::try_from(rows).unwrap_or(0), "bucket")),
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
    by.extend(scheduling.watches.iter().map(|watch| text!("migrate rollup watch, {watch}")));
    if by.is_empty() && scheduling.ticked_lately {
        by.push("somebody who ticked less than 15 minutes ago".into());
    }
    if by.is_empty() {
        by.push(text!("{YELLOW}nobody{RESET}, as far as can be seen"));
    }
    for (at, text) in by.into_iter().enumerate() {
        line(if at == 0 { "scheduled by" } else { "" }, text);
    }
    if scheduling.may_have_more_jobs {
        line("", "pg_cron may have jobs of other roles, which this role cannot see".into());
    }
    if let Cron::In(home) = &scheduling.cron {
        line("", text!("pg_cron keeps its jobs in database {home}, where this program has not looked"));
    }
    if !scheduling.is_anybody_there() {
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

pub(super) fn nobody_schedules(ways: &[Way]) {
    aside_in(YELLOW, "nobody seems to call the hourly rollup, so new usage will not show up in it; to have it called");
    for (at, way) in ways.iter().enumerate() {
        let or = if at == 0 { "" } else { "or, " };
        aside_in(PLAIN, text!("  {or}{}: {}", way.place, way.command));
    }
}

/// A bucket that is not what it should be: where, by how much, and whose it is.
pub(super) fn said_of_difference(difference: &Difference) -> Text {
    let Difference { kind, waiting, pass, bucket, raw, stored, too_large } = difference;
    let (kind, color) = match (kind, waiting) {
        (_, true) => ("waiting", DIM),
        (Kind::Missing, _) => ("missing", RED),
        (Kind::Extra, _) => ("extra", RED),
        (Kind::Different, _) => ("different", RED),
        (Kind::TooLarge, _) => ("too large", RED),
    };
    let counters = |sums: &Sums| {
        let Tokens { input, output, cache_read, cache_write } = sums.tokens;
        let Cost { usd_ticks, uncosted } = sums.cost.unwrap_or_default();
        let uncosted = [uncosted.input, uncosted.output, uncosted.cache_read, uncosted.cache_write];
        let counted = [input, output, cache_read, cache_write, sums.tasks, sums.events, usd_ticks];
        counted.into_iter().chain(uncosted).collect::<Vec<_>>()
    };
    let names = [
        "input",
        "output",
        "cache read",
        "cache write",
        "tasks",
        "rows",
        "cost ticks",
        "uncosted input",
        "uncosted output",
        "uncosted cache read",
        "uncosted cache write",
    ];
    let mut off: Vec<String> = names
        .iter()
        .zip(counters(stored).iter().zip(&counters(raw)))
        .filter(|(_, (stored, raw))| stored != raw)
        .map(|(name, (stored, raw))| format!("{name} {:+}", i128::from(*stored) - i128::from(*raw)))
        .collect();
    let mut next = Text::default();
    if let Some(sums) = too_large {
        off = vec![sums.to_string()];
        next = text!("{NL}{:11}correct its usage; the next tick then writes it: {}", "", sums.look(bucket.bucket_hour));
    }
    let still = if *pass == Pass::Left { "still " } else { "" };
    let Bucket { workspace_id, runtime_id, agent_id, provider, model, .. } = bucket;
    let hour = utc(bucket.bucket_hour);
    let hour = hour.strip_suffix(":00").unwrap_or(&hour);
    let project = bucket.project_id.map_or("none".to_owned(), |project| project.to_string());
    text!(
        "{color}{still}{kind:<9}{RESET}  {hour} UTC  {provider} {model}: {}{NL}\
         {DIM}           workspace {workspace_id} agent {agent_id}{NL}\
         {:11}runtime   {runtime_id} project {project}{RESET}{next}",
        off.join(", "),
        ""
    )
}

/// What a comparison found.
pub(super) fn compared(found: &Comparison) {
    let Comparison { days, buckets, missing, extra, different, too_large, waiting, fixed, lag, .. } = *found;
    if let Some(what) = found.unknown() {
        out(text!("{YELLOW}rollup:{RESET} {}", said_of_unknown(what)));
    }
    wrong_hands(found.fault());
    let compared = format!("{} of {}", counted(buckets, "bucket"), counted(days, "day"));
    if fixed > 0 {
        out(text!("rebuilt {}", counted(fixed, "bucket")));
    }
    if found.brought_back {
        out("the watermark was ahead of the clock; it is behind it again");
    }
    if found.wrong() > 0 {
        out(text!(
            "{RED}the hourly rollup is wrong{RESET}: compared {compared}, {} missing, {} extra, {} different{}{}",
            grouped(missing),
            grouped(extra),
            grouped(different),
            if too_large > 0 { format!(", {} too large", grouped(too_large)) } else { String::new() },
            match fixed {
                _ if found.fault().is_some() || found.unknown().is_some() => "",
                _ if too_large == found.wrong() => "; correct the usage of the buckets above",
                0 => "; migrate verify rollup --fix rebuilds them",
                _ => " even now; see migrate verify schema",
            }
        ));
    } else if waiting == 0 {
        out(text!("compared {compared}: the hourly rollup equals the raw usage"));
    } else {
        out(text!("compared {compared}: the hourly rollup equals the raw usage, but for what waits"));
    }
    if waiting > 0 {
        let wait = if waiting == 1 { "waits" } else { "wait" };
        let waiting = counted(waiting, "bucket");
        if found.is_ahead() {
            out(text!(
                "{RED}the watermark is ahead of the clock{RESET}, so nothing that waits is rolled up; next: migrate rollup tick"
            ));
        } else if found.is_stalled() {
            let ago = ago(lag);
            out(text!(
                "{RED}{waiting} {wait}, and the watermark is {ago} behind{RESET}; see migrate rollup status, and have it called: \
                 migrate rollup watch"
            ));
        } else {
            out(text!("{waiting} {wait} for the next tick"));
        }
    } else if found.is_ahead() {
        out(text!(
            "{RED}the watermark is ahead of the clock{RESET}, so new usage is not rolled up; next: migrate rollup tick"
        ));
    } else if found.is_stalled() {
        out(text!(
            "{RED}the watermark is at 1970: nobody has ever called the rollup{RESET}; migrate rollup watch does"
        ));
    }
}

/// Why `migrate up` has to be run.
pub(super) fn wrong_hands(fault: Option<String>) {
    if let Some(fault) = fault {
        out(text!("{RED}{fault}{RESET}; next: migrate up"));
    }
}

pub(super) fn said_of_unknown(what: &str) -> String {
    format!(
        "{what}, which this build does not know: what is there is not compared with it; upgrade to a newer build of migrate"
    )
}

fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A time as the server writes it in UTC, without the fraction of a second.
fn to_the_second(time: &str) -> String {
    match time.strip_suffix("+00") {
        Some(time) => format!("{} UTC", time.split('.').next().unwrap_or(time)),
        None => time.to_owned(),
    }
}

/// A time span for people, from seconds.
fn ago(seconds: f64) -> String {
    if seconds >= 1e12 {
        return "an eternity".to_owned();
    }
    let seconds = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    // Nobody counts the seconds of a year.
    let rounded = if seconds < 3600 { seconds } else { seconds - seconds % 60 };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}
