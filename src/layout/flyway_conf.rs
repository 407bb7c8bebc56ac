//! What stands in `<file>.sql.conf` beside a file of Flyway.

use super::{LayoutError, Source, Sources, sql};

/// What a file's `.conf` says of it, or Flyway's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conf {
    /// Whether the file runs in a transaction. None: its statements decide.
    pub in_transaction: Option<bool>,
    /// Whether `${name}` is replaced.
    pub replaces: bool,
    /// Whether it runs at all.
    pub runs: bool,
}

impl Conf {
    /// Where the settings of a file stand.
    pub(crate) fn path(file: &str) -> String {
        format!("{file}.conf")
    }

    /// The settings of a file.
    pub(crate) fn of(sources: &Sources, file: &str) -> Result<Self, LayoutError> {
        let mut conf = Self { in_transaction: None, replaces: true, runs: true };
        if let Some(source) = sources.find(&Self::path(file)) {
            for (at, line) in sql::without_mark(&source.text).lines().enumerate() {
                conf.read(source, at + 1, line.trim())?;
            }
        }
        Ok(conf)
    }

    fn read(&mut self, source: &Source, at: usize, line: &str) -> Result<(), LayoutError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let wrong = |reason: String| LayoutError::content(&source.path, at, reason);
        let Some((key, value)) = line.split_once('=') else {
            return Err(wrong(format!("expected <key>=<value>, not {line}")));
        };
        let (key, value) = (key.trim(), value.trim());
        let truth = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(format!("{key} is true or false, not {value}"))),
        };
        match key {
            "executeInTransaction" => self.in_transaction = Some(truth()?),
            "placeholderReplacement" => self.replaces = truth()?,
            "shouldExecute" => self.runs = truth()?,
            // Both are the same bytes in UTF-8.
            "encoding" if ["utf-8", "utf8", "us-ascii"].contains(&value.to_ascii_lowercase().as_str()) => {}
            "encoding" => return Err(wrong(format!("encoding {value} is not read: save the file as UTF-8"))),
            _ => {
                let known = "executeInTransaction, shouldExecute, placeholderReplacement and encoding";
                return Err(wrong(format!("unknown key {key}: known are {known}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Result<Conf, String> {
        Conf::of(&Sources::embedded("f", [("a.sql.conf", text)]), "a.sql").map_err(|error| error.to_string())
    }

    #[test]
    fn a_conf_says_how_its_file_runs() {
        let default = Conf { in_transaction: None, replaces: true, runs: true };
        assert_eq!(conf(""), Ok(default));
        assert_eq!(
            conf("\u{feff}# why\r\nexecuteInTransaction = FALSE\r\nencoding=UTF-8\nplaceholderReplacement=false"),
            Ok(Conf { in_transaction: Some(false), replaces: false, runs: true })
        );
        assert_eq!(conf("shouldExecute=false"), Ok(Conf { runs: false, ..default }));
    }

    #[test]
    fn what_a_conf_cannot_say_is_refused_with_its_line() {
        assert_eq!(
            conf("\nexecuteIntransaction=false").unwrap_err(),
            "line 2 of a.sql.conf: unknown key executeIntransaction: known are executeInTransaction, shouldExecute, \
             placeholderReplacement and encoding"
        );
        assert_eq!(
            conf("encoding=ISO-8859-1").unwrap_err(),
            "line 1 of a.sql.conf: encoding ISO-8859-1 is not read: save the file as UTF-8"
        );
        assert_eq!(
            conf("shouldExecute=${prod}").unwrap_err(),
            "line 1 of a.sql.conf: shouldExecute is true or false, not ${prod}"
        );
        assert_eq!(conf("x").unwrap_err(), "line 1 of a.sql.conf: expected <key>=<value>, not x");
    }
}
