//! The flag that asks for evidence. The commands that change something share it.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args};

/// Whether evidence is to be kept, and where.
#[derive(Clone, Debug, Default, Args)]
pub(in super::super) struct EvidenceFlag {
    /// Keep evidence of the run in this new folder: plan, log, schema before and after, checks, a page.
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
}

impl EvidenceFlag {
    /// The folder that these arguments of another command ask for.
    pub fn among(matches: &ArgMatches) -> Option<&Path> {
        matches.get_one::<PathBuf>("evidence").map(PathBuf::as_path)
    }

    /// The folder, if one is asked for.
    pub fn folder(&self) -> Option<&Path> {
        self.evidence.as_deref()
    }
}
