//! What is counted: the fourteen numbers that the export and the table both have.

/// One number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The export's column, which is also its name in reports.
    pub name: &'static str,
    /// The column of `usage_events`.
    pub column: &'static str,
}

/// How many there are.
pub const COUNT: usize = 14;

/// All of them, in the order in which they are shown.
pub const METRICS: [Metric; COUNT] = [
    Metric { name: "num_model_requests", column: "num_model_requests" },
    Metric { name: "input_tokens", column: "tokens_in" },
    Metric { name: "output_tokens", column: "tokens_out" },
    same("input_cached_tokens"),
    same("input_uncached_tokens"),
    same("input_text_tokens"),
    same("output_text_tokens"),
    same("input_cached_text_tokens"),
    same("input_audio_tokens"),
    same("input_cached_audio_tokens"),
    same("output_audio_tokens"),
    same("input_image_tokens"),
    same("input_cached_image_tokens"),
    same("output_image_tokens"),
];

const fn same(name: &'static str) -> Metric {
    Metric { name, column: name }
}

/// A list of SQL, one part for each metric.
pub(crate) fn list(each: impl Fn(&Metric) -> String) -> String {
    METRICS.iter().map(each).collect::<Vec<_>>().join(", ")
}
