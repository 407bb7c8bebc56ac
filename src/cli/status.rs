//! `migrate status`.

use clap::Args;

use super::exit;
use super::failure::Failure;
use super::render::Renderer;
use crate::engine::Migrator;

/// Arguments of `migrate status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Exit with 3 when something is pending, with 4 when the history differs from what this program has.
    #[arg(long)]
    check: bool,
}

impl Status {
    pub async fn run(&self, migrator: &Migrator, renderer: &Renderer) -> Result<u8, Failure> {
        let report = migrator.status().await?;
        renderer.status(&report);
        Ok(if !self.check {
            exit::OK
        } else if report.is_drift() {
            exit::DRIFT
        } else if report.is_pending() {
            exit::PENDING
        } else {
            exit::OK
        })
    }
}
