//! What a manifest may name of the program that reads it.

/// The sets and hooks that a program brings along.
pub(crate) struct Known<'a> {
    /// Its sets.
    pub sets: Vec<String>,
    /// Names the hooks of all its sets, which is asked only where a manifest names one.
    pub hooks: &'a dyn Fn() -> Vec<String>,
}
