//! Which layout a folder has: what its files say, and the history in the database where two fit.

use super::failure::Failure;
use crate::engine::ToolTable;
use crate::layout::{self, Layout, Sources};

/// The layout of a folder; an empty one gets our own. `naming` says how to name one of several, which are given with `|`
/// between them.
pub(super) fn recognise(
    sources: &Sources,
    tables: &[ToolTable],
    naming: impl Fn(&str) -> String,
) -> Result<Layout, Failure> {
    let fits = layout::fits(sources);
    let is_recorded = |layout: &&Layout| tables.iter().any(|table| table.tool.key() == layout.key());
    let recorded: Vec<Layout> = fits.iter().filter(is_recorded).copied().collect();
    let keys = |layouts: &[Layout], between: &str| layouts.iter().map(|it| it.key()).collect::<Vec<_>>().join(between);
    match (fits.as_slice(), recorded.as_slice()) {
        _ if sources.files.is_empty() => Ok(Layout::Migrate),
        ([only], _) | (_, [only]) => Ok(*only),
        ([], _) => {
            let why = layout::why_not(sources).to_string();
            Err(Failure::usage(why).hint(format!("rename the file, or {}", naming(&keys(&Layout::ALL, "|")))))
        }
        ([.., last], _) => {
            let several = fits.as_slice();
            let others = keys(&several[..several.len() - 1], ", ");
            let message = format!("{} fits {others} and {last}", sources.folder);
            Err(Failure::usage(message).hint(naming(&keys(several, "|"))))
        }
    }
}
