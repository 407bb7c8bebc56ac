//! Keeps a misplaced database URL out of errors about the command line.

use clap::Command;
use clap::error::{ContextKind, ContextValue};

const HIDDEN: &str = "postgres://...";
/// Flags whose value is a URL.
pub(super) const FLAGS: [&str; 2] = ["--database-url", "--on"];

/// The words of the command line.
pub(super) fn words() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Replaces what the error quotes by `postgres://...`, if it is a database URL, or a part of one that the shell split.
pub(super) fn hide(error: &mut clap::Error, command: &Command) {
    let secrets = secrets(&words(), &own_words(command));
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(quoted)) = error.get(kind)
            && is_one_of(quoted, &secrets)
        {
            error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
            // The tip may propose to write the same word in another place.
            error.remove(ContextKind::Suggested);
        }
    }
}

/// Whether a URL with a user stands where another value is expected, whose errors would quote it.
pub(super) fn is_misplaced(words: &[String]) -> bool {
    let is_url = |text: &str| text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    words.iter().enumerate().any(|(at, word)| {
        let is_value = at > 0 && FLAGS.contains(&words[at - 1].as_str());
        let is_joined = word.split_once('=').is_some_and(|(flag, _)| FLAGS.contains(&flag));
        is_url(word) && !is_value && !is_joined
    })
}

/// A word to hide.
struct Secret {
    word: String,
    /// It may be a piece of a URL, even if it looks like a flag.
    is_piece: bool,
}

/// The words to hide: URLs, what is given as one, and the pieces of one that the shell has split.
fn secrets(words: &[String], own: &[String]) -> Vec<Secret> {
    let is_url = |at: usize| !own.contains(&words[at]) && may_be_url(&words[at]);
    let last = (0..words.len()).rev().find(|at| is_url(*at));
    let (mut secrets, mut begun) = (Vec::new(), false);
    for (at, word) in words.iter().enumerate() {
        let is_given = at > 0 && FLAGS.contains(&words[at - 1].as_str());
        let part = is_url(at);
        // Between two words that look like parts of a URL, all may be parts of it.
        let is_piece = begun && (last.is_some_and(|last| at <= last) || !ended(&words[..at], own));
        if (part || is_given || is_piece) && !word.is_empty() && !own.contains(word) {
            secrets.push(Secret { word: word.clone(), is_piece });
            begun |= part;
        }
    }
    secrets
}

/// Whether the URL that these words contain is whole, so that what follows is no part of it.
fn ended(words: &[String], own: &[String]) -> bool {
    let mut parts = words.iter().filter(|word| !own.contains(*word) && may_be_url(word));
    let Some(last) = parts.next_back() else { return true };
    let Some((_, rest)) = last.split_once("://") else { return last.contains('@') };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    rest.contains('@') || port.is_none_or(|port| path.is_some() && port.chars().all(|c| c.is_ascii_digit()))
}

/// Whether this is one of them, or the parser's form of one: the value without its flag, or one letter of several.
fn is_one_of(quoted: &str, secrets: &[Secret]) -> bool {
    secrets.iter().any(|Secret { word, is_piece }| {
        let split = word.split_once('=');
        let letter = quoted.strip_prefix('-').filter(|letter| letter.chars().count() == 1);
        let of_piece = split.is_some_and(|(flag, _)| flag == quoted)
            || letter.is_some_and(|letter| word.starts_with('-') && word.contains(letter));
        quoted == word
            || split.is_some_and(|(_, value)| !value.is_empty() && quoted == value)
            || *is_piece && of_piece
            || !quoted.starts_with('-') && may_be_url(quoted) && word.contains(quoted)
            || quoted.contains("://") && quoted.contains(word.as_str())
    })
}

fn may_be_url(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["://", "@", "postgres:", "password", "host=", "user=", "dbname="].iter().any(|sign| word.contains(sign))
}

/// The names of all flags and subcommands.
fn own_words(command: &Command) -> Vec<String> {
    let flags = command.get_arguments().flat_map(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        long.into_iter().chain(argument.get_short().map(|short| format!("-{short}")))
    });
    let subcommands = command
        .get_subcommands()
        .flat_map(|subcommand| std::iter::once(subcommand.get_name().to_owned()).chain(own_words(subcommand)));
    flags.chain(subcommands).chain(["--help", "--version", "-h", "-V", "-vv", "--"].map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://u:s3cret@h/d";

    fn is_hidden(quoted: &str, words: &[&str]) -> bool {
        let own = ["--database-url", "--lock-wait", "--format", "up"].map(str::to_owned);
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        is_one_of(quoted, &secrets(&words, &own))
    }

    #[test]
    fn what_follows_an_unfinished_url_may_be_a_piece_of_it() {
        let words = ["up", "--database-url", "postgres://app:s3", "cret@h/d"];
        assert!(is_hidden("cret@h/d", &words));
        let words = ["--database-url", "postgres://app:s3", "-cr=et", "x", "up"];
        assert!(is_hidden("-cr=et", &words) && is_hidden("-c", &words) && is_hidden("x", &words));
        assert!(is_hidden("x", &["postgres://app:p@ss", "x", "y@h/d"]));
        assert!(is_hidden("s3cret", &["up", "host=h", "password=", "s3cret"]));
    }

    #[test]
    fn a_url_in_the_wrong_place_is_hidden() {
        assert!(is_hidden(URL, &["up", URL]));
        assert!(is_hidden(URL, &["--databse-url", URL, "up"]));
        assert!(is_hidden("x://u:s3cret@h", &["--lock-wait=x://u:s3cret@h"]));
        assert!(is_hidden("s3cret", &["--database-url", "s3cret", "up"]));
    }

    #[test]
    fn an_ordinary_mistake_is_quoted_even_beside_a_url() {
        assert!(!is_hidden("sideways", &["up", "sideways"]));
        assert!(!is_hidden("sideways", &["sideways", "--database-url", URL]));
        assert!(!is_hidden("--lock-wait <DURATION>", &[URL, "--lock-wait", "soon"]));
        for word in ["sideways", "--formt", "-x", "d", "u", "h", "s3cret"] {
            for url in [URL, "postgres://h:5432/d", "postgres://h/d"] {
                assert!(!is_hidden(word, &["--database-url", url, word]), "{url} {word}");
            }
        }
        let (whole, short) = (format!("--databse-url={URL}"), format!("-d{URL}"));
        assert!(!is_hidden("--databse-url", &[&whole, "up"]) && is_hidden(URL, &[&whole, "up"]));
        assert!(!is_hidden("-d", &[&short, "up"]));
        assert!(!is_hidden("--database-urls", &["--database-urls", URL, "up"]));
    }

    #[test]
    fn a_url_is_expected_in_one_place() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let whole = format!("--database-url={URL}");
        assert!(!is_misplaced(&words(&["--database-url", URL, "up"])) && !is_misplaced(&words(&[&whole, "up"])));
        assert!(is_misplaced(&words(&["up", "--target", URL])));
        assert!(is_misplaced(&words(&["up", &format!("--dir={URL}")])));
    }
}
