//! Words that several messages share.

/// The first of some entries, and how many more there are.
pub(super) fn listed(entries: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = entries.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", entries.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}
