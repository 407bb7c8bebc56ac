//! What somebody may have meant.

/// How alike two words are of which one may be the other: 1 is equal.
const ALIKE: f64 = 0.75;

/// Of these, the one that is nearest to a word, if one is near.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|known| {
        // Two letters in the other order make short words look very different.
        let slip = known.len() > 2 && strsim::damerau_levenshtein(word, known) == 1;
        (if slip { 1.0 } else { strsim::jaro(word, known) }, known)
    });
    rated.filter(|(alike, _)| *alike > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// `did you mean sqlx?`, or else what there is: `the layouts are sqlx, goose`.
pub(super) fn advice(word: &str, what: &str, known: &[String]) -> String {
    let list = || known.join(", ");
    match nearest(word, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("the {what} are {}", list()),
    }
}
