//! `migrate up`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command};

use super::evidence::EvidenceFlag;
use super::exit;
use super::failure::Failure;
use super::preview;
use super::product::{Content, Context};
use crate::engine::{BaselineError, Error, Set, UpOptions};

/// Arguments of `migrate up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    pending: Pending,

    /// Show what would be done, with the forecast of each hook, and write nothing. With -v, show the SQL too.
    #[arg(long)]
    dry_run: bool,

    /// Do nothing if the database is empty: another migrator builds it. For entrypoints that run both.
    #[arg(long)]
    skip_empty: bool,

    #[command(flatten)]
    pub evidence: EvidenceFlag,

    /// Go on only if the plan is the one that this rehearsal was of: the file that rehearse --output has written.
    #[arg(long, value_name = "FILE.json", conflicts_with = "dry_run")]
    pub approved: Option<PathBuf>,
}

/// Which of the pending versions and hooks are meant.
#[derive(Debug, Args)]
pub(super) struct Pending {
    /// Apply versions up to this one.
    #[arg(long, value_name = "VERSION")]
    target: Option<String>,

    /// Record all versions up to this one as applied, without running them, then go on. Only where nothing is recorded yet.
    #[arg(long, value_name = "VERSION")]
    baseline: Option<String>,

    /// Skip this hook; the guard of the migration after it then decides. May be given several times.
    #[arg(long, value_name = "NAME")]
    skip_hook: Vec<String>,
}

impl Pending {
    /// Whether versions are to be recorded without running them.
    pub fn has_baseline(&self) -> bool {
        self.baseline.is_some()
    }

    /// The same flags, as they are typed.
    pub fn typed(&self) -> String {
        let named = [("--target", &self.target), ("--baseline", &self.baseline)];
        let named = named.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        let all = named.chain(self.skip_hook.iter().map(|hook| ("--skip-hook", hook)));
        all.flat_map(|(flag, value)| [" ".to_owned(), flag.to_owned(), " ".to_owned(), crate::db::quoted(value)])
            .collect()
    }

    /// The same as the engine's options.
    pub fn options(&self, set: &Set, lock_wait: Duration) -> Result<UpOptions, Failure> {
        let target = self.target.as_deref().map(|target| set.version(target)).transpose()?;
        let no_such_version = |named: &str| {
            let (named, latest) = (named.to_owned(), set.latest());
            Error::from(BaselineError::NoSuchVersion { named, latest })
        };
        let begins_behind = |named: &str| set.version(named).map_err(|_| no_such_version(named));
        let baseline = self.baseline.as_deref().map(begins_behind).transpose()?;
        Ok(UpOptions { target, baseline, skip_hooks: self.skip_hook.clone(), lock_wait, skip_empty: false })
    }
}

/// The command line of `migrate up`.
pub(super) fn command() -> Command {
    // Derived flags bring a description of their own along.
    let up = Up::augment_args(Command::new("up")).long_about(None::<&str>);
    up.about("Apply what is pending: hooks and migrations, in order")
}

impl Up {
    /// Whether the command only shows something.
    pub fn only_shows(&self) -> bool {
        self.dry_run
    }

    pub async fn run(&self, content: &dyn Content, cx: &Context<'_>) -> Result<u8, Failure> {
        let pending = self.pending.options(cx.migrator.set(), cx.lock_wait)?;
        let options = UpOptions { skip_empty: self.skip_empty, ..pending };
        if self.dry_run {
            let (plan, verbose) = (cx.migrator.preview(&options).await?, cx.screen.is_verbose());
            cx.unchosen.point_out(plan.current == 0, &cx.screen);
            cx.screen
                .show(|| preview::human(&plan, verbose, cx.screen.program()), |to| preview::json(&plan, verbose, to));
        } else {
            cx.migrator.up(&options).await?;
            content.after_up(cx).await;
        }
        Ok(exit::OK)
    }
}
