//! `migrate verify usage`.

use std::path::PathBuf;

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::json;

use super::failure::name_faults;
use super::flags::ExportFlags;
use super::reading::reading;
use super::{human, page};
use crate::cli::{Check, Context, Failure, Reserved, Screen, exit};
use crate::compare::{Comparison, compare};

/// The check `usage`.
pub(crate) struct VerifyUsage;

#[derive(Debug, Args)]
struct Flags {
    #[command(flatten)]
    export: ExportFlags,

    /// Write the report as JSON into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the report as a page with charts into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,

    /// How many windows of each kind the report lists at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    examples: u64,
}

#[async_trait]
impl Check for VerifyUsage {
    fn command(&self) -> Command {
        let about = "Compare the provider's usage export with what is recorded, window by window";
        Flags::augment_args(Command::new("usage")).about(about).long_about(format!(
            "{about}\n\nReads the CSV files into a temporary table of its own session, and writes nothing else into the database. \
             Exits with 4 if a window is missing in the database, or a number differs."
        ))
    }

    async fn run(&self, matches: Option<&ArgMatches>, cx: &Context<'_>) -> Result<u8, Failure> {
        let Some(matches) = matches else { return Ok(without_export(&cx.screen)) };
        let flags = Flags::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
        let comparison =
            Comparison { range: flags.export.range()?, sources: flags.export.sources()?, limit: flags.examples };
        let reserve = |path: &Option<PathBuf>| path.as_deref().map(Reserved::new).transpose();
        let (mut output, mut shown) = (reserve(&flags.output)?, reserve(&flags.page)?);
        let total = comparison.sources.iter().map(|source| source.bytes).sum();
        let report = match compare(cx.connector, &comparison, &reading(&cx.screen, total)).await {
            Ok(report) => report,
            Err(error) => {
                name_faults(&error, &cx.screen);
                return Err(error.into());
            }
        };
        cx.screen.clear();
        if let Some(output) = &mut output {
            let text =
                serde_json::to_string_pretty(&report).map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
            output.fill(&(text + "\n"))?;
        }
        if let Some(shown) = &mut shown {
            shown.fill(&page::page(&report, cx.screen.program()))?;
        }
        for written in [output, shown].into_iter().flatten() {
            written.publish()?;
        }
        cx.screen.show(|| human::compared(&report, &cx.screen), |to| to.named("usage_compared", &report));
        for path in [flags.output, flags.page].iter().flatten() {
            cx.screen.aside(format!("the report is in {}", path.display()));
        }
        Ok(if report.agrees() { exit::OK } else { exit::DRIFT })
    }
}

/// As one of all checks: history and schema are checked, and this one needs a file.
fn without_export(screen: &Screen) -> u8 {
    screen.json("usage_not_compared", &json!({ "reason": "no export was named" }));
    let how = screen.command("verify usage --csv FILE");
    screen.out(format!("usage: not compared, which needs the provider's export: {how}"));
    exit::OK
}
