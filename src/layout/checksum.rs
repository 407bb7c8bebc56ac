//! What tools keep of a file's text.

/// What a tool's history keeps of a file's text, by its own rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// What is recorded for a file that is applied now: decimal or lower-case hexadecimal digits.
    pub recorded: String,
    /// What else counts as the same text: other line ends, another width of the version.
    pub also: Vec<String>,
}

impl Checksum {
    /// One form only.
    #[must_use]
    pub fn only(recorded: impl Into<String>) -> Self {
        Self { recorded: recorded.into(), also: Vec::new() }
    }

    /// Whether what a history has recorded stands for this text.
    #[must_use]
    pub fn matches(&self, recorded: &str) -> bool {
        self.recorded == recorded || self.also.iter().any(|also| also == recorded)
    }
}
