//! `up --approved`: a run goes on only if it is the one that was rehearsed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::report::{FORMAT, KIND, schema_digest};
use crate::db::{Connector, Notice};
use crate::engine::{Event, HookError, Intent, Part, Sent, Snapshot, Witness};
use crate::evidence::Approval;
use crate::exit;
use crate::failure::Failure;
use crate::lines::rehearsed;
use crate::screen::Screen;

/// More than any result of a rehearsal has.
const MOST: u64 = 64 << 20;

/// What a document of a rehearsal says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
struct Document {
    kind: String,
    format: u64,
    verdict: String,
    plan_digest: String,
    schema_sha256: String,
    made_for_it: bool,
    set: String,
    from: String,
    to: String,
    database: String,
    ended: String,
    sends: Vec<Rehearsed>,
    back: Vec<Rehearsed>,
    parts: Vec<PartRun>,
    schema: Schema,
    without_way_back: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rehearsed {
    title: String,
    sha256: String,
}

#[derive(Clone, Debug, Deserialize)]
struct PartRun {
    part: String,
    seconds: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Schema {
    same_after_way_back: Option<bool>,
    same_after_second_run: Option<bool>,
}

/// A rehearsal that a run is held to.
pub(in super::super) struct Approved {
    path: PathBuf,
    text: String,
    document: Document,
    screen: Arc<Screen>,
}

impl Approved {
    /// Reads it. One that did not pass approves nothing.
    pub fn read(path: &Path, screen: &Arc<Screen>) -> Result<Self, Failure> {
        let shown = path.display();
        let hint = "nothing was done; rehearse --output writes the file that is meant here";
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
        read.map_err(|error| Failure::usage(format!("could not read {shown}: {error}")).hint(hint))?;
        let no_rehearsal =
            |why: String| Failure::usage(format!("{shown} is not the result of a rehearsal: {why}")).hint(hint);
        let document: Document = serde_json::from_str(&text).map_err(|error| no_rehearsal(error.to_string()))?;
        if document.kind != KIND {
            return Err(no_rehearsal(format!("it calls itself {}", document.kind)));
        }
        if document.format != FORMAT {
            return Err(no_rehearsal(format!("it has form {}, and this program knows {FORMAT}", document.format)));
        }
        if document.verdict != "passed" {
            let message = format!("the rehearsal in {shown} has not passed");
            let hint = "nothing was done; see what it has found, mend it, and rehearse again";
            return Err(Failure::new(exit::REFUSED, message).hint(hint));
        }
        Ok(Self { path: path.to_owned(), text, document, screen: Arc::clone(screen) })
    }

    /// For the evidence of the run.
    pub fn approval(&self) -> Approval {
        Approval { document: self.text.clone(), lines: self.lines() }
    }

    fn lines(&self) -> Vec<String> {
        let Document { database, ended, parts, schema, without_way_back, .. } = &self.document;
        let mut lines = vec![format!("rehearsed on {database}, ended {ended}")];
        for PartRun { part, seconds } in parts {
            let what = match part.as_str() {
                "up" => rehearsed(Part::Up),
                "back" => rehearsed(Part::Back),
                _ => rehearsed(Part::Again),
            };
            lines.push(format!("{what} took {seconds} s"));
        }
        if schema.same_after_way_back == Some(true) {
            lines.push("the schema after the way back was the one before".to_owned());
        }
        if schema.same_after_second_run == Some(true) {
            lines.push("the second run made the same schema as the first".to_owned());
        }
        if !without_way_back.is_empty() {
            lines.push(format!(
                "the way back was not rehearsed, since these have none: {}",
                without_way_back.join("; ")
            ));
        }
        lines
    }

    /// Tells if the copy began with another schema. One that was made for the rehearsal has only what the set has made.
    async fn compare_schema(&self, connector: &Connector) -> Result<(), HookError> {
        if self.document.made_for_it {
            return Ok(());
        }
        let connection = connector.connect("migrate: up").await?;
        let schema = Snapshot::take(&connection).await?;
        connection.close().await;
        if schema_digest(&schema) != self.document.schema_sha256 {
            let shown = self.screen.command("snapshot");
            let message = format!("the schema is not the one of the copy that was rehearsed on; {shown} shows each");
            self.screen.event(Event::Notice(Notice {
                severity: "WARNING".to_owned(),
                message,
                detail: None,
                hint: None,
            }));
        }
        Ok(())
    }

    /// What the plan has that was not rehearsed, and the other way round.
    fn difference(&self, intent: &Intent) -> Option<String> {
        let Document { plan_digest, set, from, to, sends, back, .. } = &self.document;
        if *plan_digest == intent.digest() {
            let differs = differing(&intent.back, back)?;
            return Some(format!("the way back of {differs} is another one"));
        }
        let of = |what: &str| {
            intent.subject.iter().find(|(name, _)| *name == what).map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        for (what, rehearsed) in [("set", set), ("from", from), ("to", to)] {
            let planned = of(what);
            if planned != rehearsed {
                return Some(match what {
                    "set" => format!("it is of set {planned}, and set {rehearsed} was rehearsed"),
                    "from" => format!("it begins at version {planned}, and the rehearsal at {rehearsed}"),
                    _ => format!("it leads to version {planned}, and the rehearsal to {rehearsed}"),
                });
            }
        }
        let planned: Vec<_> = intent.sends.iter().map(|sent| (sent.title.as_str(), sent.digest())).collect();
        for (title, digest) in &planned {
            match sends.iter().find(|sent| sent.title == *title) {
                None => return Some(format!("{title} was not rehearsed")),
                Some(sent) if sent.sha256 != *digest => return Some(format!("the text of {title} is another one")),
                Some(_) => {}
            }
        }
        let gone = sends.iter().find(|sent| !planned.iter().any(|(title, _)| *title == sent.title));
        Some(match gone {
            Some(gone) => format!("{} was rehearsed, and is not in it", gone.title),
            None => "its order is another one".to_owned(),
        })
    }
}

/// The first of these whose text was not among what was rehearsed, or that is there no more.
fn differing<'t>(planned: &'t [Sent], rehearsed: &'t [Rehearsed]) -> Option<&'t str> {
    let is_there = |sent: &&Sent| rehearsed.iter().any(|was| was.title == sent.title && was.sha256 == sent.digest());
    let new = planned.iter().find(|sent| !is_there(sent)).map(|sent| sent.title.as_str());
    let is_planned = |was: &&Rehearsed| planned.iter().any(|sent| sent.title == was.title);
    new.or_else(|| Some(rehearsed.iter().find(|was| !is_planned(was))?.title.as_str()))
}

#[async_trait]
impl Witness for Approved {
    async fn before(&self, intent: Intent, connector: &Connector) -> Result<(), HookError> {
        let Some(difference) = self.difference(&intent) else { return self.compare_schema(connector).await };
        let path = self.path.display();
        let message = format!("the plan is not the one that was rehearsed in {path}: {difference}");
        Err(HookError::refused_with_hint(message, "nothing was done; rehearse again, and have the new result approved"))
    }

    async fn after(&self, _: &Connector) {}
}
