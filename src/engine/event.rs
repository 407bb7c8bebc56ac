//! What happens during a run, as an observer is told.

use std::time::Duration;

use migrate_layout::Layout;
use serde::Serialize;

use super::Version;
use super::applied::Adopted;
use super::outcome::{Boundary, Outcome, Progress};
use super::rehearse::Part;
use super::why::{LeftAlone, Why};
use crate::db::{Holder, Notice, ServerFacts, Waiting, as_optional_seconds, as_seconds};

/// One thing that happened. As JSON, the name of the variant is in the field `event`, durations are in seconds, times
/// in RFC 3339.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A session is open.
    Connected {
        /// Name of the set. In JSON, whoever writes the event says it.
        #[serde(skip)]
        set: String,
        /// The folder of its files, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// How that is laid out.
        #[serde(skip_serializing_if = "Option::is_none")]
        layout: Option<Layout>,
        /// The host, as the URL names it, or the directory of the socket.
        host: String,
        /// The port.
        port: u16,
        /// What the server says about itself.
        #[serde(flatten)]
        server: ServerFacts,
    },
    /// Another session holds a lock. Repeated every ten seconds.
    Waiting(Waiting),
    /// The run knows what it is going to do.
    Planned {
        /// Version of the database; 0 for an empty history.
        current: Version,
        /// Version that the run leads to.
        target: Version,
        /// How many versions of an older migrator are taken over.
        adopted: usize,
        /// How many migrations are pending up to there.
        migrations: usize,
        /// How many repeatable files are to be applied.
        repeatables: usize,
        /// How many hooks stand before them.
        hooks: usize,
    },
    /// What an older migrator had applied is checked, and counts as applied.
    Adopted {
        /// The older ledger.
        ledger: String,
        /// Whether what they should have left was looked up.
        checked: bool,
        /// What it records.
        versions: Vec<Adopted>,
    },
    /// What nobody had recorded counts as applied from here on.
    Baselined {
        /// The versions.
        versions: Vec<Adopted>,
    },
    /// A hook begins.
    HookStarted {
        /// Its name.
        hook: String,
        /// Where it runs.
        #[serde(flatten)]
        boundary: Boundary,
    },
    /// A hook tells how far it is.
    HookProgress {
        /// Its name.
        hook: String,
        /// Where it runs.
        #[serde(flatten)]
        boundary: Boundary,
        /// How far it is.
        #[serde(flatten)]
        progress: Progress,
        /// Since the hook began.
        #[serde(serialize_with = "as_seconds")]
        elapsed: Duration,
        /// Estimated time to the end, once there is something to estimate from.
        #[serde(serialize_with = "as_optional_seconds", skip_serializing_if = "Option::is_none")]
        eta: Option<Duration>,
    },
    /// A hook is done.
    HookFinished {
        /// Its name.
        hook: String,
        /// Where it runs.
        #[serde(flatten)]
        boundary: Boundary,
        /// What it did.
        #[serde(flatten)]
        outcome: Outcome,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A hook is left out because the operator said so.
    HookSkipped {
        /// Its name.
        hook: String,
        /// Where it runs.
        #[serde(flatten)]
        boundary: Boundary,
    },
    /// A migration begins.
    MigrationStarted {
        /// Its version.
        version: Version,
        /// Its name.
        name: String,
        /// The file that holds it.
        file: String,
        /// Why, although an older migrator has applied it before.
        #[serde(skip_serializing_if = "Option::is_none")]
        again: Option<String>,
    },
    /// A migration could not get its locks, was rolled back, and is tried again.
    MigrationRetried {
        /// Its version.
        version: Version,
        /// Its name.
        name: String,
        /// Why, in the server's words.
        reason: String,
        /// How many times it has been tried.
        attempts: u32,
        /// Whose transaction has had a lock on one of the tables for longest.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
    /// A migration is applied and recorded.
    MigrationApplied {
        /// Its version.
        version: Version,
        /// Its name.
        name: String,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A repeatable file is going to be applied.
    RepeatableStarted {
        /// Its name.
        name: String,
        /// Why.
        #[serde(flatten)]
        why: Why,
    },
    /// A repeatable file could not get its locks, was rolled back, and is tried again.
    RepeatableRetried {
        /// Its name.
        name: String,
        /// Why, in the server's words.
        reason: String,
        /// How many times it has been tried.
        attempts: u32,
        /// Whose transaction has had a lock on one of the tables for longest.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
    /// A repeatable file is applied and recorded.
    RepeatableApplied {
        /// Its name.
        name: String,
        /// Why.
        #[serde(flatten)]
        why: Why,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// A repeatable file is not applied: what is there belongs to something newer than this program.
    LeftAlone(LeftAlone),
    /// The database is empty, and what is built is not all that an application needs.
    BuildsAlone {
        /// What the set says about that.
        note: String,
    },
    /// The database is empty, and it was asked for that such a one is left alone.
    LeftEmpty,
    /// A rehearsal begins its next part.
    Rehearsing {
        /// Which one.
        part: Part,
    },
    /// The server said something on the side.
    Notice(Notice),
    /// The run knows what it is going to take back.
    DownPlanned {
        /// Version of the database.
        current: Version,
        /// Version that the run leads to; 0 for none.
        target: Version,
        /// How many migrations are taken back.
        migrations: usize,
    },
    /// A hook has run before a version that is taken back, and is not undone.
    HookNotUndone {
        /// Its name.
        hook: String,
        /// Where it has run.
        #[serde(flatten)]
        boundary: Boundary,
    },
    /// The way back of a migration begins.
    DownStarted {
        /// Its version.
        version: Version,
        /// Its name.
        name: String,
        /// The file of the way back.
        file: String,
    },
    /// A migration is taken back, and not recorded any more.
    TakenBack {
        /// Its version.
        version: Version,
        /// Its name.
        name: String,
        /// The history of another tool that it was taken out of, too.
        #[serde(skip_serializing_if = "Option::is_none")]
        recorded_in: Option<String>,
        /// How long it took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// The way back is over and the database is at `version`.
    DownFinished {
        /// Version of the database; 0 for none.
        version: Version,
        /// Migrations taken back by this run.
        migrations: usize,
        /// How long the run took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
    /// The run is over and the database is at `version`.
    Finished {
        /// Version of the database.
        version: Version,
        /// Versions of an older migrator taken over by this run.
        adopted: usize,
        /// Migrations applied by this run.
        migrations: usize,
        /// Repeatable files applied by this run.
        repeatables: usize,
        /// Hooks run by this run.
        hooks: usize,
        /// How long the run took.
        #[serde(serialize_with = "as_seconds")]
        duration: Duration,
    },
}
