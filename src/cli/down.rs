//! `migrate down`.

use clap::{Args, Command};

use super::down_human;
use super::evidence::EvidenceFlag;
use super::exit;
use super::failure::Failure;
use super::product::Context;
use crate::engine::{DownOptions, Version};

/// Arguments of `migrate down`.
#[derive(Debug, Args)]
pub(super) struct Down {
    /// Take back every version above this one, which stays; 0 takes all of them back.
    #[arg(long, value_name = "VERSION", conflicts_with = "steps")]
    to: Option<String>,

    /// How many versions to take back. Default: 1.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,

    /// Do it. Without this, show what would be taken back, and write nothing.
    #[arg(long)]
    execute: bool,

    /// Drop tables and columns that hold data, too.
    #[arg(long)]
    lose_data: bool,

    #[command(flatten)]
    pub evidence: EvidenceFlag,
}

/// The command line of `migrate down`.
pub(super) fn command() -> Command {
    // Derived flags bring a description of their own along.
    let down = Down::augment_args(Command::new("down")).long_about(None::<&str>);
    down.about("Take versions back, newest first. Shows what it would do; --execute does it")
}

impl Down {
    /// Whether the command only shows something.
    pub fn only_shows(&self) -> bool {
        !self.execute
    }

    pub async fn run(&self, cx: &Context<'_>) -> Result<u8, Failure> {
        let to = match self.to.as_deref() {
            Some("0") => Some(Version::NONE),
            Some(to) => Some(cx.migrator.set().version(to)?),
            None => None,
        };
        let steps = self.steps.unwrap_or(1) as usize;
        let options = DownOptions { to, steps, lose_data: self.lose_data, lock_wait: cx.lock_wait };
        if self.execute {
            cx.migrator.down(&options).await?;
            return Ok(exit::OK);
        }
        let (plan, verbose) = (cx.migrator.preview_down(&options).await?, cx.screen.is_verbose());
        let refused = plan.check_losses(&options);
        let same = self.command_line();
        cx.screen.show(
            || down_human::plan(&plan, verbose, cx.screen.program(), refused.is_ok().then_some(same.as_str())),
            |to| down_human::json(&plan, verbose, to),
        );
        refused?;
        Ok(exit::OK)
    }

    /// What does it, behind the program's name.
    fn command_line(&self) -> String {
        let to = self.to.as_ref().map(|to| format!("--to {}", crate::db::quoted(to)));
        let steps = self.steps.map(|steps| format!("--steps {steps}"));
        let lose_data = self.lose_data.then(|| "--lose-data".to_owned());
        let flags = [Some("down".to_owned()), to, steps, lose_data, Some("--execute".to_owned())];
        flags.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
