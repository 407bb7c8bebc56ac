//! `migrate verify rollup`.

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::compared::View;
use crate::cli::{Check, Context, Failure, exit};
use crate::usage::{self, Comparison, RollupError, Scope};

/// The check `rollup`.
pub(crate) struct VerifyRollup;

#[derive(Debug, Args)]
struct Flags {
    /// Only this workspace.
    #[arg(long, value_name = "UUID")]
    workspace_id: Option<Uuid>,

    /// From the hour that holds this time: 2026-03-01, 2026-03-01T14:00:00Z. A day is a UTC day.
    #[arg(long, value_name = "TIME", value_parser = time_or_day)]
    from: Option<OffsetDateTime>,

    /// Up to this time, which is not included.
    #[arg(long, value_name = "TIME", value_parser = time_or_day)]
    to: Option<OffsetDateTime>,

    /// Rebuild the hours in which something is wrong, and compare them again. Right buckets are not touched.
    #[arg(long)]
    fix: bool,
}

fn time_or_day(text: &str) -> Result<OffsetDateTime, String> {
    let day =
        || Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(|day| day.midnight().assume_utc());
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(day)
        .filter(|time| (1..9999).contains(&time.year()))
        .ok_or_else(|| "expected 2026-03-01 or 2026-03-01T14:00:00Z, with a zone".to_owned())
}

#[async_trait]
impl Check for VerifyRollup {
    fn command(&self) -> Command {
        let about = "Compare the hourly rollup with the raw usage, bucket by bucket";
        Flags::augment_args(Command::new("rollup")).about(about).long_about(format!(
            "{about}\n\nExits with 4 if a bucket is missing, extra or different, unless it only waits for the next tick."
        ))
    }

    async fn run(&self, matches: Option<&ArgMatches>, cx: &Context<'_>) -> Result<u8, Failure> {
        let Some(matches) = matches else { return whole(cx).await };
        let flags = Flags::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
        let Flags { workspace_id, from, to, fix } = flags;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::usage("--from is not before --to"));
        }
        let scope = Scope { workspace: workspace_id, from, to };
        let view = View::new(&cx.screen);
        let found = if fix {
            usage::fix(cx.connector, scope, cx.lock_wait, &view.observer()).await?
        } else {
            usage::compare(cx.connector, scope, &view.observer()).await?
        };
        Ok(compared(&found, &view))
    }
}

/// As one of all checks, where a database without a rollup passes.
async fn whole(cx: &Context<'_>) -> Result<u8, Failure> {
    let view = View::new(&cx.screen);
    match usage::compare(cx.connector, Scope::default(), &view.observer()).await {
        Ok(found) => Ok(compared(&found, &view)),
        Err(RollupError::NoPipeline) => {
            cx.screen.json("no_rollup", &json!({}));
            cx.screen.out("there is no hourly rollup yet");
            Ok(exit::OK)
        }
        Err(error) => Err(error.into()),
    }
}

fn compared(found: &Comparison, view: &View) -> u8 {
    view.end(found);
    // Whether what was found is a fault.
    if found.wrong() > 0 || found.is_stalled() || found.fault().is_some() { exit::DRIFT } else { exit::OK }
}
