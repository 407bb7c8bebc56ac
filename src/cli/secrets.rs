//! Keeps a misplaced database URL out of errors about the command line.

use clap::Command;
use clap::error::{ContextKind, ContextValue};

/// Replaces what the error quotes by `postgres://...`, if it may be a database URL, or a part of one that the shell split.
pub(super) fn hide(error: &mut clap::Error, command: &Command) {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let secrets = secrets(words, &own_words(command));
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(quoted)) = error.get(kind)
            && is_one_of(quoted, &secrets)
        {
            error.insert(kind, ContextValue::String("postgres://...".to_owned()));
        }
    }
}

/// The words to hide: one that may be a URL, and the words after it.
fn secrets(words: impl Iterator<Item = String>, own: &[String]) -> Vec<String> {
    let mut follows = false;
    words
        .filter(|word| {
            follows |= may_be_url(word);
            follows && !word.is_empty() && !own.contains(word)
        })
        .collect()
}

/// Whether this is one of them, or the parser's form of one: the value without its flag, or one letter of several.
fn is_one_of(quoted: &str, secrets: &[String]) -> bool {
    secrets.iter().any(|secret| secret.contains(quoted) || quoted.contains(secret.as_str()))
}

fn may_be_url(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["://", "@", "postgres", "password", "host=", "user=", "dbname=", "database-url", "database_url"]
        .iter()
        .any(|sign| word.contains(sign))
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

    fn is_hidden(quoted: &str, words: &[&str]) -> bool {
        let own = ["--database-url", "--lock-wait", "up"].map(str::to_owned);
        is_one_of(quoted, &secrets(words.iter().map(|word| (*word).to_owned()), &own))
    }

    #[test]
    fn what_follows_a_url_may_be_a_piece_of_it() {
        let words = ["up", "--database-url", "postgres://app:s3", "cret@h/d", "-x"];
        assert!(is_hidden("cret@h/d", &words) && is_hidden("-x", &words));
        assert!(is_hidden("s3cret", &["up", "host=h", "password=", "s3cret"]));
        assert!(is_hidden("x://u:s3cret@h", &["--lock-wait=x://u:s3cret@h"]));
    }

    #[test]
    fn an_ordinary_mistake_is_quoted() {
        assert!(!is_hidden("sideways", &["up", "sideways"]));
        assert!(!is_hidden("sideways", &["sideways", "--database-url", "postgres://h/d"]));
        assert!(!is_hidden("--lock-wait <DURATION>", &["postgres://u:s3cret@h/d", "--lock-wait", "soon"]));
    }
}
