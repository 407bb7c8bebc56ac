//! Whoever is shown what a run is going to do, before it does it.

use async_trait::async_trait;
use migrate_layout::sha256;
use serde_json::Value;

use super::Version;
use super::hook::HookError;
use crate::db::{self, Connection, Connector};

/// Is shown what is going to be done, under the lock, and may refuse it: to keep evidence, or to compare it with what was
/// approved.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Called once the plan is final and before anything is written. `connector` opens read-only sessions on the same server.
    ///
    /// # Errors
    ///
    /// Any error ends the run, with nothing written.
    async fn before(&self, intent: Intent, connector: &Connector) -> Result<(), HookError>;

    /// Called before the next thing of [`Intent::sends`] is sent.
    ///
    /// # Errors
    ///
    /// Any error ends the run; what is done so far stays.
    async fn begins(&self) -> Result<(), db::Error> {
        Ok(())
    }

    /// Called when it is done and recorded. `connection` is the session that has sent it.
    ///
    /// # Errors
    ///
    /// As [`Self::begins`].
    async fn ends(&self, connection: &Connection) -> Result<(), db::Error> {
        let _ = connection;
        Ok(())
    }

    /// Called after the last step, or after the one that failed; the lock is still held.
    async fn after(&self, connector: &Connector);
}

/// What a run is going to do, as data.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// What its digest stands for, besides what is sent: the set, where it begins, where it ends.
    pub subject: Vec<(&'static str, String)>,
    /// What a dry run says of each step.
    pub steps: Vec<Value>,
    /// Whether what it sends are its steps, one after the other: an event tells the end of each.
    pub is_stepwise: bool,
    /// What it records without running it, a line each.
    pub records: Vec<String>,
    /// What it sends, in order.
    pub sends: Vec<Sent>,
    /// How each of it is taken back, in the order of the way back.
    pub back: Vec<Sent>,
    /// The command that takes it back, without the program's name; none where not all of it can be taken back.
    pub back_command: Option<String>,
    /// The version that the database has before it, 0 for an empty history; none where it is about something else.
    pub from: Option<Version>,
    /// The versions that it applies.
    pub versions: Vec<Version>,
}

/// One thing that is sent, or a hook that runs.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// What it is: `V3, usage_event_windows`.
    pub title: String,
    /// The file that it is from.
    pub file: Option<String>,
    /// The checksum that the history records.
    pub recorded: Option<u64>,
    /// How it is sent, and what goes with it.
    pub notes: Vec<String>,
    /// The texts, each sent by itself. None: a program does it, or there is nothing.
    pub texts: Vec<String>,
    /// It is one transaction, which holds each of its locks to its end.
    pub is_transaction: bool,
}

impl Sent {
    /// What identifies its texts: the SHA-256 of all of them, each behind its length.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut all = String::new();
        self.texts.iter().for_each(|text| push(&mut all, text));
        sha256(all.as_bytes())
    }
}

/// Adds a part behind its length, so that none can pass for two.
fn push(all: &mut String, part: &str) {
    all.extend([&part.len().to_string(), ":", part]);
}

impl Intent {
    /// What identifies it: the SHA-256 of what it is about and of everything it sends, in order. The same plan has the same
    /// digest in every database; what hooks expect to do, and versions that are only recorded, do not count.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut all = String::new();
        for (what, value) in &self.subject {
            push(&mut all, what);
            push(&mut all, value);
        }
        for sent in &self.sends {
            push(&mut all, &sent.title);
            push(&mut all, &sent.texts.len().to_string());
            sent.texts.iter().for_each(|text| push(&mut all, text));
        }
        sha256(all.as_bytes())
    }
}
