//! The frame of every page: one sheet of style, no network, readable on a screen, narrow or wide, and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::text::visible;

/// A page with this title and content. Invisible characters are escaped, as on a terminal.
///
/// The classes that a content may use stand in `page.css`: `verdict` (`mild`, `bad`), `figures`, `badge`, `numbers` for a table
/// of numbers, `state` with `passed`, `differs` or `mild` for a cell, `scroll` around what may be wider than the page.
#[must_use]
pub fn document(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body { (content) }
        }
        "\n"
    };
    visible(&page.into_string())
}

/// A line of a list of facts, `dl`.
#[must_use]
pub fn fact(name: &str, value: &str) -> Markup {
    html! { "\n" dt { (name) } dd { (value) } }
}
