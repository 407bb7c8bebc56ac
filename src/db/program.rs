//! What a hint calls the program that shows it.

use std::fmt;
use std::sync::Arc;

/// The program that runs the migrations, as its user calls it.
///
/// A hint names the next command. With a command line that is `notes-admin up`; with none, as in a server that migrates at its
/// start, a hint speaks of the migrations instead of a command that does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What every command begins with; empty without a command line.
    words: Vec<String>,
}

impl Program {
    /// A program that calls the library from code of its own.
    #[must_use]
    pub fn embedded() -> Self {
        Self::default()
    }

    /// A program with the command line of this library, by its name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { words: vec![name.into()] }
    }

    /// A word that every command has to repeat, such as `--dir` and its value.
    #[must_use]
    pub fn with(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Its name; none without a command line.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// A command, as it can be pasted into a shell; none without a command line.
    #[must_use]
    pub fn command(&self, command: &str) -> Option<String> {
        let words: Vec<_> = self.words.iter().map(|word| quoted(word)).collect();
        (!words.is_empty()).then(|| format!("{} {command}", words.join(" ")))
    }

    /// What applies the migrations, as a subject: `migrate up`.
    #[must_use]
    pub fn up(&self) -> String {
        self.command("up").unwrap_or_else(|| "the next run".to_owned())
    }

    /// To apply the migrations, as an order: `run migrate up`.
    #[must_use]
    pub fn run_up(&self) -> String {
        self.command("up").map_or_else(|| "run the migrations".to_owned(), |up| format!("run {up}"))
    }

    /// An option of `up` and its like, by its flag; without a command line, by its name in the code.
    #[must_use]
    pub fn option(&self, flag: &str) -> String {
        match self.words.as_slice() {
            [] => flag.trim_start_matches('-').replace('-', "_"),
            _ => flag.to_owned(),
        }
    }
}

/// A word for a POSIX shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,~".contains(c);
    // The shell replaces a tilde only at the beginning.
    if !word.is_empty() && !word.starts_with('~') && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What to do about an error, in the words of the program that shows it.
#[derive(Clone)]
pub struct Hint(Arc<Text>);

/// How it reads for a program; none where that program has no use for it.
type Text = dyn Fn(&Program) -> Option<String> + Send + Sync;

impl Hint {
    /// A hint that names a command: `Hint::of(|program| format!("{} first", program.run_up()))`.
    pub fn of(text: impl Fn(&Program) -> String + Send + Sync + 'static) -> Self {
        Self::if_any(move |program| Some(text(program)))
    }

    /// A hint that is taken from where there may be none.
    pub fn if_any(text: impl Fn(&Program) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(text))
    }

    /// The hint for the user of this program.
    #[must_use]
    pub fn text(&self, program: &Program) -> Option<String> {
        (self.0)(program)
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::of(move |_| text.clone())
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(&Program::embedded()), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_repeats_what_the_operator_typed() {
        let program = Program::named("migrate").with("--dir").with("my files");
        assert_eq!(program.up(), "migrate --dir 'my files' up");
        assert_eq!(program.run_up(), "run migrate --dir 'my files' up");
        assert_eq!(program.command("verify history").unwrap(), "migrate --dir 'my files' verify history");
        assert_eq!(program.option("--lock-wait"), "--lock-wait");
        assert_eq!(Program::named("a").with("it's").with("~x").with("").up(), "a 'it'\\''s' '~x' '' up");
    }

    #[test]
    fn without_a_command_line_no_command_is_named() {
        let program = Program::embedded();
        assert_eq!(program.up(), "the next run");
        assert_eq!(program.run_up(), "run the migrations");
        assert_eq!(program.command("verify history"), None);
        assert_eq!(program.option("--lock-wait"), "lock_wait");
    }
}
