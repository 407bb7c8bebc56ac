//! What differs between two schemas.

use std::collections::BTreeMap;

use serde::Serialize;
use similar::TextDiff;

use crate::engine::{Snapshot, SnapshotObject};

/// One object that is not as it was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub what: What,
    pub kind: String,
    pub name: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Added,
    Changed,
    Removed,
}

impl What {
    pub fn words(self) -> &'static str {
        match self {
            Self::Added => "added:",
            Self::Changed => "changed:",
            Self::Removed => "removed:",
        }
    }
}

/// The objects that are not as they were, in the order of the text.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let by_id = |snapshot: &Snapshot| -> BTreeMap<(String, String), String> {
        let entry = |object: &SnapshotObject| ((object.kind.clone(), object.name.clone()), object.text.clone());
        snapshot.objects.iter().map(entry).collect()
    };
    let (old, new) = (by_id(before), by_id(after));
    let change = |what, object: &SnapshotObject| Change { what, kind: object.kind.clone(), name: object.name.clone() };
    let of = |object: &SnapshotObject| (object.kind.clone(), object.name.clone());
    let mut changes: Vec<Change> = after
        .objects
        .iter()
        .filter_map(|object| match old.get(&of(object)) {
            None => Some(change(What::Added, object)),
            Some(text) => (*text != object.text).then(|| change(What::Changed, object)),
        })
        .collect();
    let gone = before.objects.iter().filter(|object| !new.contains_key(&of(object)));
    changes.extend(gone.map(|object| change(What::Removed, object)));
    changes
}

/// The tables among them that are there.
pub(super) fn tables(changes: &[Change]) -> Vec<String> {
    let is_table = |change: &&Change| change.kind.ends_with("table") && change.what != What::Removed;
    changes.iter().filter(is_table).map(|change| change.name.clone()).collect()
}

/// The difference of two schemas as a unified diff; empty if there is none.
pub(in super::super) fn unified(before: &str, after: &str, [old, new]: [&str; 2]) -> String {
    if before == after {
        return String::new();
    }
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(old, new).to_string()
}
