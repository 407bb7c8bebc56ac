//! What a comparison of the hourly rollup with the raw usage shows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::json;

use super::human::{ago, fault, said_of_unknown};
use crate::cli::Screen;
use crate::cli::text::{DIM, NL, RED, RESET, Text, YELLOW, text};
use crate::cli::words::{counted, utc};
use crate::db::{Observer, grouped};
use crate::engine::Progress;
use crate::usage::{Bucket, CompareEvent, Comparison, Cost, Difference, Kind, Pass, Sums, Tokens};

/// How many buckets that differ are shown to people.
const DIFFERENCES_SHOWN: usize = 20;

/// Shows a comparison while it runs.
#[derive(Clone)]
pub(super) struct View {
    screen: Arc<Screen>,
    began: Instant,
    /// Differences told: found, and left after a repair.
    told: Arc<Mutex<[usize; 2]>>,
}

impl View {
    pub fn new(screen: &Arc<Screen>) -> Self {
        Self { screen: Arc::clone(screen), began: Instant::now(), told: Arc::default() }
    }

    /// Receives what the comparison finds.
    pub fn observer(&self) -> Observer<CompareEvent> {
        let view = self.clone();
        Observer::new(move |event| match event {
            CompareEvent::Progress { done, total, buckets } => view.progress(done, total, buckets),
            CompareEvent::Difference(difference) => view.difference(&difference),
        })
    }

    /// What it found.
    pub fn end(&self, found: &Comparison) {
        self.screen.json("rollup_compared", found);
        if self.screen.is_json() {
            return;
        }
        self.screen.clear();
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let more: usize = told.iter().map(|told| told.saturating_sub(DIFFERENCES_SHOWN)).sum();
        if more > 0 && !self.screen.is_verbose() {
            self.screen.out(text!("and {} more; -v or --format json list them all", grouped(more as u64)));
        }
        compared(found, &self.screen);
    }

    fn progress(&self, done: u64, total: u64, buckets: u64) {
        if !self.screen.is_quiet() {
            let counts = json!({ "unit": "days", "done": done, "total": total, "buckets": buckets });
            self.screen.json("comparing", &counts);
        }
        if done == total {
            self.screen.clear();
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let eta = (done > 0).then(|| self.began.elapsed().mul_f64((total - done) as f64 / done as f64));
        let (unit, written_unit) = ("days".into(), "buckets".into());
        self.screen.progress("comparing", &Progress { unit, done, total, written: buckets, written_unit }, eta);
    }

    fn difference(&self, difference: &Difference) {
        self.screen.json("bucket", difference);
        if self.screen.is_json() || difference.waiting && !self.screen.is_verbose() {
            return;
        }
        // As many lines for what is left after a repair as for what was found.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut told[usize::from(difference.pass == Pass::Left)];
        *told += 1;
        if *told <= DIFFERENCES_SHOWN || self.screen.is_verbose() {
            self.screen.out(said_of_difference(difference));
        }
    }
}

/// A bucket that differs from its usage: which, by how much, and whose it is.
fn said_of_difference(difference: &Difference) -> Text {
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
fn compared(found: &Comparison, screen: &Screen) {
    let Comparison { days, buckets, missing, extra, different, too_large, waiting, fixed, lag, .. } = *found;
    if let Some(what) = found.unknown() {
        screen.out(text!("{YELLOW}rollup:{RESET} {}", said_of_unknown(what)));
    }
    fault(found.fault(), screen);
    let compared = format!("{} of {}", counted(buckets, "bucket"), counted(days, "day"));
    if fixed > 0 {
        screen.out(text!("rebuilt {}", counted(fixed, "bucket")));
    }
    if found.brought_back {
        screen.out("the watermark was ahead of the clock; it is behind it again");
    }
    if found.wrong() > 0 {
        screen.out(text!(
            "{RED}the hourly rollup is wrong{RESET}: compared {compared}, {} missing, {} extra, {} different{}{}",
            grouped(missing),
            grouped(extra),
            grouped(different),
            if too_large > 0 { format!(", {} too large", grouped(too_large)) } else { String::new() },
            match fixed {
                _ if found.fault().is_some() || found.unknown().is_some() => String::new(),
                _ if too_large == found.wrong() => "; correct the usage of the buckets above".to_owned(),
                0 => format!("; {} rebuilds them", screen.command("verify rollup --fix")),
                _ => format!(" after the rebuild; see {}", screen.command("verify schema")),
            }
        ));
    } else if waiting == 0 {
        screen.out(text!("compared {compared}: the hourly rollup equals the raw usage"));
    } else {
        screen.out(text!("compared {compared}: the hourly rollup equals the raw usage, except for what is waiting"));
    }
    let [tick, watch] = ["rollup tick", "rollup watch"].map(|command| screen.command(command));
    if waiting > 0 {
        let wait = if waiting == 1 { "waits" } else { "wait" };
        let waiting = counted(waiting, "bucket");
        if found.is_ahead() {
            screen.out(text!(
                "{RED}the watermark is ahead of the clock{RESET}, so no waiting bucket is rolled up; next: {tick}"
            ));
        } else if found.is_stalled() {
            let (ago, status) = (ago(lag), screen.command("rollup status"));
            screen.out(text!(
                "{RED}{waiting} {wait}, and the watermark is {ago} behind{RESET}; see {status}; to roll them up: {watch}"
            ));
        } else {
            screen.out(text!("{waiting} {wait} for the next tick"));
        }
    } else if found.is_ahead() {
        screen
            .out(text!("{RED}the watermark is ahead of the clock{RESET}, so new usage is not rolled up; next: {tick}"));
    } else if found.is_stalled() {
        screen.out(text!("{RED}the watermark is at 1970: the rollup has never run{RESET}; next: {watch}"));
    }
}
