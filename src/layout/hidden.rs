//! What the environment has put into the text of a file: it is sent, and never shown.

/// A text with values of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// The text as it is shown: with the names instead of the values.
    pub shown: String,
    /// The values, each with its name as the file has it: `${password}`.
    pub values: Vec<(String, String)>,
}

impl Hidden {
    /// Notes a value, and returns the name that stands for it.
    pub(crate) fn note(&mut self, name: &str, value: &str) -> String {
        let named = format!("${{{name}}}");
        if !value.is_empty() && !self.values.iter().any(|(known, _)| known == value) {
            self.values.push((value.to_owned(), named.clone()));
            // The longest first: one value may be a part of another.
            self.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        }
        named
    }

    /// A text of somebody else, with the names instead of the values.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}
