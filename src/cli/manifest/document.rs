//! A document of TOML whose values know their lines.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{At, ManifestError};

/// The text of a manifest, for the lines of what stands in it.
pub(super) struct Document<'a> {
    /// The file, as it is shown.
    pub file: &'a str,
    /// Its text.
    pub whole: &'a str,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub value: &'a DeValue<'a>,
    /// Where the key begins.
    start: usize,
}

impl<'a> Document<'a> {
    /// The place of a byte.
    fn place(&self, byte: usize) -> At {
        let before = self.whole.get(..byte).unwrap_or(self.whole);
        At { file: self.file.to_owned(), line: before.matches('\n').count() + 1 }
    }

    /// The place of a key.
    pub fn at(&self, entry: &Entry<'_>) -> At {
        self.place(entry.start)
    }

    pub fn parse(&self) -> Result<Spanned<DeTable<'a>>, ManifestError> {
        let (table, errors) = DeTable::parse_recoverable(self.whole);
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        // One mistake has others follow from it.
        let Some(first) = errors.iter().min_by_key(|error| start(error)) else { return Ok(table) };
        let reason = first.message().lines().collect::<Vec<_>>().join(", ");
        Err(ManifestError::Syntax { at: self.place(start(first)), reason })
    }

    /// The entries of a table in the order of the file, if it may have all of them. `place`: `in [set.app]`.
    pub fn entries<'t>(
        &self,
        table: &'t DeTable<'t>,
        place: &str,
        known: &[&str],
    ) -> Result<Vec<Entry<'t>>, ManifestError> {
        let entries = ordered(table);
        match entries.iter().find(|entry| !known.contains(&entry.key)) {
            None => Ok(entries),
            Some(unknown) => Err(ManifestError::UnknownKey {
                at: self.at(unknown),
                key: unknown.key.to_owned(),
                table: place.to_owned(),
                known: known.iter().map(|&known| known.to_owned()).collect(),
            }),
        }
    }

    /// A value has another type than it should.
    pub fn wrong(&self, entry: &Entry<'_>, expected: &'static str) -> ManifestError {
        let found = match entry.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        ManifestError::Type { at: self.at(entry), key: entry.key.to_owned(), expected, found }
    }

    /// A value that cannot be.
    pub fn refused(&self, entry: &Entry<'_>, reason: String, hint: impl Into<String>) -> ManifestError {
        ManifestError::Refused { at: self.at(entry), reason, hint: hint.into() }
    }

    /// A text that is not empty.
    pub fn text(&self, entry: &Entry<'_>) -> Result<String, ManifestError> {
        let text = entry.value.as_str().ok_or_else(|| self.wrong(entry, "text in quotes"))?;
        if text.trim().is_empty() {
            return Err(self.refused(entry, format!("{} is empty", entry.key), "give it a value, or leave it out"));
        }
        Ok(text.to_owned())
    }

    pub fn truth(&self, entry: &Entry<'_>) -> Result<bool, ManifestError> {
        entry.value.as_bool().ok_or_else(|| self.wrong(entry, "true or false"))
    }

    pub fn number(&self, entry: &Entry<'_>) -> Result<i64, ManifestError> {
        let number = entry.value.as_integer().ok_or_else(|| self.wrong(entry, "a whole number"))?;
        i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
            let reason = format!("{} = {number} is too large", entry.key);
            self.refused(entry, reason, "a whole number has 64 bits here")
        })
    }

    pub fn table<'t>(&self, entry: &Entry<'t>, expected: &'static str) -> Result<&'t DeTable<'t>, ManifestError> {
        entry.value.as_table().ok_or_else(|| self.wrong(entry, expected))
    }

    pub fn texts(&self, entry: &Entry<'_>) -> Result<Vec<String>, ManifestError> {
        let wrong = || self.wrong(entry, "a list of texts: [\"…\"]");
        let list = entry.value.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|item| {
                let one = Entry { value: item.get_ref(), ..*entry };
                if one.value.is_str() { self.text(&one) } else { Err(wrong()) }
            })
            .collect()
    }

    /// A text that names one of `known`.
    pub fn one_of<T>(
        &self,
        entry: &Entry<'_>,
        what: &'static str,
        known: impl IntoIterator<Item = (String, T)>,
    ) -> Result<T, ManifestError> {
        let value = self.text(entry)?;
        let mut names = Vec::new();
        for (name, one) in known {
            if name == value {
                return Ok(one);
            }
            names.push(name);
        }
        Err(self.unknown(entry, value, what, names))
    }

    /// A value that names nothing.
    pub fn unknown(&self, entry: &Entry<'_>, value: String, what: &'static str, known: Vec<String>) -> ManifestError {
        ManifestError::UnknownValue { at: self.at(entry), key: entry.key.to_owned(), value, what, known }
    }
}

/// The entries of a table in the order of the file.
pub(super) fn ordered<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = table
        .iter()
        .map(|(key, value)| Entry { key: key.get_ref().as_ref(), value: value.get_ref(), start: key.span().start })
        .collect();
    entries.sort_by_key(|entry| entry.start);
    entries
}
