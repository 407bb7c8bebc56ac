//! Words that several messages share.

use crate::db::ident;

/// The first of some entries, and how many more there are.
pub(super) fn listed(entries: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = entries.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", entries.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}

/// What puts a schema into the search path, at the end of a URL.
pub(super) fn search_path(schema: &str) -> String {
    let plain = schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let name = if plain { schema.to_owned() } else { ident(schema) };
    let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    format!("?options=-csearch_path%3D{encoded}")
}
