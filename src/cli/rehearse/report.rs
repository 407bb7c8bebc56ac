//! The result as a document, and its words.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::copy::Copy;
use crate::call::Call;
use crate::engine::{Measured, Part, Passed, Rehearsal, Sent, Snapshot, TableLock, TableWork, WayBack};
use crate::evidence::unified;
use crate::layout::sha256;
use crate::words::{counted, short};

/// The number of this form of the document.
pub(super) const FORMAT: u64 = 1;

/// What a document of this kind calls itself.
pub(super) const KIND: &str = "rehearsal";

/// What the looks at the locks cannot see.
pub(super) const CANNOT_SEE: &str = "Locks on tables, views and sequences are looked at every few milliseconds, and just before each commit. A lock that is released in \
     between is not seen: outside of a transaction, or by a savepoint or an EXCEPTION block that rolls back. Locks on rows are not \
     shown: a row that is updated or deleted is locked to the end of its transaction. Times of locks are the longest that they can \
     have been. WAL is that of the whole server. The schema is compared without owners, grants and settings.";

/// The result.
pub(super) struct Report {
    document: Value,
    pub database: String,
    pub started: OffsetDateTime,
    pub set: String,
    /// What the schemas differ in: after the way back, and after the second run.
    pub differences: [Option<String>; 2],
}

impl Report {
    pub fn of(rehearsal: &Rehearsal, copy: &Copy, call: &Call<'_>, started: OffsetDateTime) -> Self {
        let (set, database) = (call.content.name().to_owned(), copy.database.to_string());
        let differences = differences(rehearsal);
        let intent = &rehearsal.intent;
        let mut parts = vec![part(Part::Up, &rehearsal.up)];
        if let WayBack::Run(back) = &rehearsal.back {
            parts.push(part(Part::Back, back));
        }
        parts.extend(rehearsal.again.as_ref().map(|again| part(Part::Again, again)));
        let without = if let WayBack::Missing(without) = &rehearsal.back { without.as_slice() } else { &[] };
        let mut document = json!({
            "kind": KIND,
            "format": FORMAT,
            "verdict": verdict(rehearsal),
            "plan_digest": intent.digest(),
            "schema_sha256": schema_digest(&rehearsal.before),
            "program": { "name": call.screen.program().name(), "version": call.version },
            "database": database,
            "made_for_it": copy.is_made(),
            "made_up_rows": copy.rows,
            "started": started.format(&Rfc3339).ok(),
            "ended": OffsetDateTime::now_utc().format(&Rfc3339).ok(),
            "others_seen": rehearsal.others,
            "sends": texts(&intent.sends),
            "back": texts(&intent.back),
            "parts": parts,
            "without_way_back": without,
            "schema": {
                "same_after_way_back": rehearsal.is_back(),
                "difference_after_way_back": differences[0],
                "same_after_second_run": rehearsal.is_same_again(),
                "difference_after_second_run": differences[1],
            },
            "cannot_see": CANNOT_SEE,
        });
        if let Some(document) = document.as_object_mut() {
            document.extend(intent.subject.iter().map(|(what, value)| ((*what).to_owned(), json!(value))));
        }
        Self { document, database, started, set, differences }
    }

    /// The document without the set, which every event has.
    pub fn json(&self) -> Value {
        let mut document = self.document.clone();
        document.as_object_mut().map(|document| document.remove("set"));
        document
    }

    /// The document as the text of a file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.document).unwrap_or_default() + "\n"
    }
}

/// What identifies each text.
fn texts(sent: &[Sent]) -> Vec<Value> {
    sent.iter().map(|sent| json!({ "title": sent.title, "sha256": sent.digest() })).collect()
}

/// What identifies the schema that it began with.
pub(super) fn schema_digest(schema: &Snapshot) -> String {
    sha256(schema.to_string().as_bytes())
}

/// In one word.
pub(super) fn verdict(rehearsal: &Rehearsal) -> &'static str {
    match rehearsal.error() {
        Some(_) => "failed",
        None if rehearsal.passed() => "passed",
        None => "differs",
    }
}

fn part(part: Part, passed: &Passed) -> Value {
    let seconds = (passed.duration.as_secs_f64() * 1000.0).round() / 1000.0;
    let error = passed.error.as_ref().map(ToString::to_string);
    json!({ "part": part, "seconds": seconds, "error": error, "steps": passed.steps })
}

/// The unified diffs of the schemas that should be the same; none where they are, or where there is nothing to compare.
fn differences(rehearsal: &Rehearsal) -> [Option<String>; 2] {
    let diff = |old: &Snapshot, new: &Snapshot, names: [&str; 2]| {
        (old != new).then(|| unified(&old.to_string(), &new.to_string(), names))
    };
    let back = match &rehearsal.back {
        WayBack::Run(back) => back.schema.as_ref(),
        WayBack::Missing(_) | WayBack::NotReached => None,
    };
    let again = rehearsal.again.as_ref().and_then(|again| again.schema.as_ref());
    [
        back.and_then(|back| diff(&rehearsal.before, back, ["before", "after the way back"])),
        rehearsal
            .up
            .schema
            .as_ref()
            .zip(again)
            .and_then(|(first, again)| diff(first, again, ["after the first run", "after the second run"])),
    ]
}

/// What the whole of it says, a sentence each.
pub(super) fn sentences(rehearsal: &Rehearsal) -> Vec<(bool, String)> {
    let mut said = Vec::new();
    if rehearsal.others {
        said.push((
            false,
            "sessions of others used the copy meanwhile, and what they did is in these figures".to_owned(),
        ));
    }
    match &rehearsal.back {
        WayBack::Missing(without) if without.is_empty() => {
            said.push((true, "nothing of it can be taken back: it applies no version".to_owned()));
        }
        WayBack::Missing(without) => {
            said.push((true, format!("the way back was not rehearsed, since these have none: {}", without.join("; "))));
        }
        WayBack::Run(_) | WayBack::NotReached => {}
    }
    match rehearsal.is_back() {
        Some(true) => said.push((true, "the schema after the way back is the one before".to_owned())),
        Some(false) => said.push((false, "the schema after the way back is not the one before".to_owned())),
        None => {}
    }
    match rehearsal.is_same_again() {
        Some(true) => said.push((true, "the second run has made the same schema as the first".to_owned())),
        Some(false) => said.push((false, "the second run has made another schema than the first".to_owned())),
        None => {}
    }
    said
}

/// What one step has done to tables, a line each; of the locks, those that nothing waits for only if that is asked for.
pub(super) fn lines(step: &Measured, with_weak_locks: bool) -> Vec<String> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    for lock in step.locks.iter().filter(|lock| with_weak_locks || !lock.blocked_writes_at_most.is_zero()) {
        lines.push((&lock.table, format!("{}: locked {}", lock.table, locked(lock))));
    }
    for work in &step.tables {
        lines.push((&work.table, format!("{}: {}", work.table, worked(work))));
    }
    let rewritten =
        |work: &&TableWork| (work.rewritten || work.dropped) && !step.locks.iter().any(|lock| lock.table == work.table);
    for work in step.tables.iter().filter(rewritten) {
        lines.push((&work.table, format!("{}: locked ACCESS EXCLUSIVE, too shortly to be seen", work.table)));
    }
    // The lock on a table, then the work on it; tables in the order of their locks.
    let place = |table: &str| step.locks.iter().position(|lock| lock.table == table).unwrap_or(usize::MAX);
    lines.sort_by_key(|(table, _)| place(table));
    lines.into_iter().map(|(_, line)| line).collect()
}

fn locked(lock: &TableLock) -> String {
    let [held, reads, writes] = [lock.held_at_most, lock.blocked_reads_at_most, lock.blocked_writes_at_most].map(short);
    let blocks = match (lock.blocked_reads_at_most.is_zero(), lock.blocked_writes_at_most.is_zero()) {
        (true, true) => "blocks neither reads nor writes".to_owned(),
        (true, false) => format!("blocks writes for {writes} at most"),
        (false, _) if reads == writes => format!("blocks reads and writes for {reads} at most"),
        (false, _) => format!("blocks reads for {reads} and writes for {writes} at most"),
    };
    format!("{} for {held} at most, {blocks}", lock.strongest)
}

fn worked(work: &TableWork) -> String {
    let what = [(work.created, "created"), (work.dropped, "dropped"), (work.rewritten, "rewritten or emptied")];
    let mut did: Vec<String> = what.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()).collect();
    did.extend(work.indexes_built.iter().map(|index| format!("index {index} built")));
    if work.rows_read > 0 {
        did.push(format!("{} read by sequential scans", counted(work.rows_read, "row")));
    }
    for (rows, word) in [(work.inserted, "inserted"), (work.updated, "updated"), (work.deleted, "deleted")] {
        if rows > 0 {
            did.push(format!("{} {word}", counted(rows, "row")));
        }
    }
    did.join(", ")
}

/// Bytes: `12 kB`, `3.4 MB`.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}
