//! Which export, and which windows of it.

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::Failure;
use crate::export::{Range, Source, in_folder, sources};

/// The flags that name an export.
#[derive(Debug, Args)]
pub(super) struct ExportFlags {
    /// A CSV file of the export, compressed with gzip or not. May be given several times.
    #[arg(long, value_name = "FILE", required_unless_present = "csv_dir")]
    csv: Vec<PathBuf>,

    /// A folder: every .csv and .csv.gz file in it.
    #[arg(long, value_name = "DIR")]
    csv_dir: Option<PathBuf>,

    /// Only windows that begin at this time or later, such as 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<OffsetDateTime>,

    /// Only windows that begin before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<OffsetDateTime>,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|time| (1..9999).contains(&time.year()))
        .ok_or_else(|| "expected a time with its zone, such as 2026-01-01T00:00:00Z".to_owned())
}

impl ExportFlags {
    /// The windows that count.
    pub fn range(&self) -> Result<Range, Failure> {
        let Self { from, to, .. } = self;
        match (from, to) {
            (Some(from), Some(to)) if from >= to => Err(Failure::usage("--from is not before --to")),
            _ => Ok(Range { from: *from, to: *to }),
        }
    }

    /// The files.
    pub fn sources(&self) -> Result<Vec<Source>, Failure> {
        let mut paths = self.csv.clone();
        if let Some(folder) = &self.csv_dir {
            paths.extend(in_folder(folder)?);
        }
        Ok(sources(paths)?)
    }
}
