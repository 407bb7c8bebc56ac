//! `migrate import-usage`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::failure::name_faults;
use super::flags::ExportFlags;
use super::reading::reading;
use crate::cli::words::{counted, short};
use crate::cli::{Context, Failure, Screen, Verb, exit};
use crate::compare::Comparison;
use crate::db::grouped;
use crate::import::{Found, IMPORT, ImportError, Keys, Missing, inserts};
use crate::repair::{Moved, Pacing, Repairer, Repairs, WouldInsert};

/// The verb `import-usage`.
pub(crate) struct ImportUsage;

#[derive(Debug, Args)]
struct Flags {
    #[command(flatten)]
    export: ExportFlags,

    /// A CSV file with the columns api_key_id and key_id: whose each key of the provider is. What it does not name is taken
    /// from the windows that are recorded.
    #[allow(clippy::doc_markdown, reason = "shown as help")]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// Do it. Without, what would be done is shown, and nothing is written.
    #[arg(long)]
    execute: bool,

    /// Do it only if the digest of the rows is this one, which the dry run has shown.
    #[arg(long, value_name = "DIGEST", requires = "execute")]
    expect: Option<String>,

    /// Rows per transaction.
    #[arg(long, value_name = "ROWS", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,

    /// Pause between two transactions, to reduce the load: 50ms, 1s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    sleep_between_batches: Duration,
}

#[async_trait]
impl Verb for ImportUsage {
    fn command(&self) -> Command {
        let about = "Insert the windows of the provider's usage export that the database does not have";
        Flags::augment_args(Command::new(IMPORT)).about(about).long_about(format!(
            "{about}\n\nWindows that are there stay as they are, and exit code 8 says that some have other numbers. A run is journalled \
             like a repair: the same command continues it, and repair undo takes it back."
        ))
    }

    fn only_shows(&self, matches: &ArgMatches) -> bool {
        !matches.get_flag("execute")
    }

    fn keeps_evidence(&self) -> bool {
        true
    }

    async fn run(&self, matches: &ArgMatches, cx: &Context<'_>) -> Result<u8, Failure> {
        let flags = Flags::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
        let sources = flags.export.sources()?;
        let total = sources.iter().map(|source| source.bytes).sum();
        let comparison = Comparison { range: flags.export.range()?, sources, limit: 0 };
        let keys = flags.keys.as_deref().map(Keys::read).transpose()?.unwrap_or_default();
        let arguments = arguments(&comparison, &flags);
        let observer = reading(&cx.screen, total);
        let mut missing = Missing { comparison, keys, observer, found: None, error: None };
        let repairer = repairer(cx);
        if !flags.execute {
            let connection = cx.connector.connect("migrate: import-usage, dry run").await?;
            let found = missing.find(&connection).await.map_err(|error| failed(error, &cx.screen))?;
            let would = repairer.would_insert(&connection, &inserts(), &arguments).await?;
            connection.close().await;
            shown(found, &would, &cx.screen);
            return Ok(exit::OK);
        }
        let pacing = Pacing {
            batch_size: flags.batch_size,
            sleep_between_batches: flags.sleep_between_batches,
            lock_wait: cx.lock_wait,
            ..Pacing::default()
        };
        let expected = flags.expect.as_deref();
        let moved = repairer.insert(&inserts(), &arguments, &mut missing, expected, &pacing).await;
        if let Some(error) = missing.error {
            return Err(failed(error, &cx.screen));
        }
        Ok(done(missing.found, &moved?, &cx.screen))
    }
}

/// What selects the rows: the same continue an interrupted run.
fn arguments(comparison: &Comparison, flags: &Flags) -> Value {
    let files: Vec<_> = comparison.sources.iter().map(|source| source.path.display().to_string()).collect();
    let time = |time: Option<time::OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok());
    let keys = flags.keys.as_ref().map(|keys| keys.display().to_string());
    json!({ "csv": files, "from": time(comparison.range.from), "to": time(comparison.range.to), "keys": keys })
}

fn repairer(cx: &Context<'_>) -> Repairer {
    let (database, cancel) = (cx.connector.database().clone(), cx.connector.cancellation().clone());
    let screen = Arc::clone(&cx.screen);
    let repairs = Repairs::new().with_inserts(inserts());
    let mut repairer =
        Repairer::new(cx.migrator.set().name(), repairs, database, cancel, move |event| screen.repair_event(event));
    for witness in cx.witnesses {
        repairer = repairer.witnessed_by(Arc::clone(witness));
    }
    repairer.wait_at_most(cx.lock_wait);
    repairer
}

fn failed(error: ImportError, screen: &Screen) -> Failure {
    if let ImportError::Compare(error) = &error {
        name_faults(error, screen);
    }
    error.into()
}

fn shown(found: Found, would: &WouldInsert, screen: &Screen) {
    let WouldInsert { rows, digest, unfinished } = would;
    screen.json(
        "would_import",
        &json!({ "rows": rows, "digest": digest, "different": found.counts.mismatched_windows,
                 "rows_of_export": found.rows, "continues": unfinished.as_ref().map(|run| run.id) }),
    );
    screen.clear();
    if let Some(run) = unfinished {
        let (done, total) = (grouped(run.done), counted(run.total, "row"));
        screen.out(format!(
            "run {} with these arguments is unfinished ({done} of {total}); --execute continues it",
            run.id
        ));
    }
    let of_export = counted(found.rows, "row");
    screen.out(format!("would insert {} into usage_events, of {of_export} of the export", counted(*rows, "row")));
    different(found, screen);
    screen.out(format!("digest {digest}; nothing was written; add --execute to do it"));
}

fn different(found: Found, screen: &Screen) {
    let windows = found.counts.mismatched_windows;
    if windows > 0 {
        let verify = screen.command("verify usage");
        let windows = counted(windows, "window");
        screen.out(format!("{windows} with other numbers than the export stay as they are; {verify} shows them"));
    }
}

/// What an execution has done, and the exit code.
fn done(found: Option<Found>, moved: &Moved, screen: &Screen) -> u8 {
    let different_windows = found.map_or(0, |found| found.counts.mismatched_windows);
    screen.json(
        "imported",
        &json!({ "run": moved.run, "rows": moved.rows, "changed": moved.changed, "different": different_windows }),
    );
    screen.clear();
    match moved.run {
        None => screen.out("there is nothing to insert: no window of the export is missing"),
        Some(run) => {
            let rows = counted(moved.rows, "row");
            screen.out(format!("run {run}: inserted {rows} into usage_events ({})", short(moved.duration)));
            let undo = screen.command(&format!("repair undo {run}"));
            screen.aside(format!("{undo} would take them out again"));
        }
    }
    if moved.changed > 0 {
        screen.out(format!("{} had been inserted by somebody else meanwhile", counted(moved.changed, "row")));
    }
    if let Some(found) = found {
        different(found, screen);
    }
    if different_windows > 0 || moved.changed > 0 { exit::ROWS_LEFT } else { exit::OK }
}
