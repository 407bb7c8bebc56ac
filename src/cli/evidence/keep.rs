//! Keeping the evidence of one run: what is written before it, and what after it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::changes::{self, Change};
use super::checks::{Around, Checks};
use super::environment::environment;
use super::folder::{Folder, NotWritten, REHEARSAL};
use super::page::Page;
use super::run::{Approval, Run, Verdict, typed};
use super::{plan, text};
use crate::db::{self, Connector, Database, Program};
use crate::engine::{HookError, Intent, Snapshot, Witness};
use crate::exit;
use crate::failure::Failure;
use crate::json::Json;
use crate::screen::Screen;

/// Room for the page, the checks and the log, beside what grows with the schema and the plan.
const ROOM: usize = 4 << 20;

/// How long the look at the schema may take after the run was told to stop: the program ends soon after.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Events that tell the end of a step. No text in an event can pass for one: its quotes are escaped.
const STEP_ENDS: [&str; 5] = ["migration_applied", "repeatable_applied", "hook_finished", "hook_skipped", "taken_back"];

/// The evidence of one run.
pub(in super::super) struct Evidence {
    folder: Arc<Folder>,
    run: Run,
    screen: Arc<Screen>,
    /// How many steps have come to their end.
    done: Arc<AtomicUsize>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    begun: Option<Begun>,
    after: Option<Result<Snapshot, String>>,
}

/// What was written before the run.
#[derive(Clone)]
struct Begun {
    intent: Intent,
    environment: Value,
    before: Snapshot,
}

/// How the run ended.
struct Ended<'a> {
    verdict: Verdict,
    exit: u8,
    failure: Option<&'a Failure>,
    at: OffsetDateTime,
}

impl Evidence {
    /// Makes the folder, before anything else happens, and keeps every event of the run from now on.
    pub fn begin(
        path: &Path,
        version: &str,
        set: &str,
        database: &Database,
        screen: &Arc<Screen>,
        approval: Option<Approval>,
    ) -> Result<Self, Failure> {
        let called: &Program = screen.program();
        let name = called.name().unwrap_or_default().to_owned();
        let run = Run {
            typed: typed(&name),
            program: name,
            version: version.to_owned(),
            called: called.clone(),
            set: set.to_owned(),
            database: database.to_string(),
            started: OffsetDateTime::now_utc(),
            approval,
        };
        let folder = Arc::new(Folder::create(path)?);
        let log = Arc::clone(&folder);
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let keep = move |line: &str| {
            log.line(line);
            if STEP_ENDS.iter().any(|event| line.contains(&format!("\"event\":\"{event}\""))) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        screen.keep_log(Json::kept_by(set, Arc::new(keep)));
        Ok(Self { folder, run, screen: Arc::clone(screen), done, kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is known before the run, and takes the room for the rest.
    async fn write_before(&self, intent: Intent, connector: &Connector) -> Result<(), HookError> {
        let connection = connector.clone().read_only().connect("migrate: evidence").await?;
        let before = Snapshot::take(&connection).await?;
        let environment = environment(&connection, &self.run).await?;
        connection.close().await;
        let schema = before.to_string();
        let sql = plan::sql(&intent, &self.run);
        // The schema after the run, the difference, and what the page shows of both; the page shows the plan, too.
        let room = ROOM + 4 * schema.len() + 3 * sql.len();
        let write = || {
            self.folder.write("plan.sql", sql.as_bytes())?;
            self.folder.write("plan.json", &pretty(&intent.to_json()))?;
            if let Some(approval) = &self.run.approval {
                self.folder.write(REHEARSAL, approval.document.as_bytes())?;
            }
            self.folder.write("rollback.txt", plan::rollback(&intent, &self.run).as_bytes())?;
            self.folder.write("environment.json", &pretty(&environment))?;
            self.folder.write("schema-before.txt", schema.as_bytes())?;
            self.folder.reserve(room)
        };
        write().map_err(|error: NotWritten| {
            let hint = "nothing was done; free space there, or name another folder";
            HookError::with_hint(format!("could not write the evidence, {error}"), hint)
        })?;
        self.kept().begun = Some(Begun { intent, environment, before });
        Ok(())
    }

    /// Removes the folder: there was no run.
    pub fn discard(&self) {
        self.folder.discard();
    }

    /// Ends the evidence of a run that has ended like this. What the run returns stays, unless it succeeded and its evidence did
    /// not.
    pub async fn finish(&self, result: Result<u8, Failure>, around: &Around<'_>) -> Result<u8, Failure> {
        let mut nothing = false;
        if self.kept().begun.is_none() {
            if result.is_err() {
                // No statement was sent that it could be evidence of.
                self.folder.discard();
                return result;
            }
            nothing = true;
            let intent = Intent { subject: vec![("set", self.run.set.clone())], ..Intent::default() };
            if let Err(error) = self.write_before(intent, around.connector).await {
                return Err(self.incomplete(&error.to_string(), true));
            }
        }
        let written = self.write_after(&result, nothing, around).await;
        match (result, written) {
            (Ok(code), Ok(passed)) => Ok(if code == exit::OK && !passed { exit::DRIFT } else { code }),
            (Ok(_), Err(error)) => Err(self.incomplete(&error.to_string(), nothing)),
            (Err(failure), Ok(_)) => Err(failure),
            (Err(mut failure), Err(error)) => {
                failure.message = format!("{}; its evidence is not complete: {error}", failure.message);
                Err(failure)
            }
        }
    }

    fn incomplete(&self, error: &str, nothing: bool) -> Failure {
        let folder = self.folder.path().display();
        let done = if nothing { "there was nothing to do" } else { "the run is done, and stays" };
        let message = format!("{done}, but its evidence in {folder} is not complete: could not write it, {error}");
        let hint = "what is there says that it is unfinished; keep what this run has printed instead";
        Failure::new(exit::FAILED, message).hint(hint)
    }

    /// Returns whether every check has passed.
    async fn write_after(
        &self,
        result: &Result<u8, Failure>,
        nothing: bool,
        around: &Around<'_>,
    ) -> Result<bool, NotWritten> {
        let looked = self.kept().after.is_some();
        if !looked {
            self.after(around.connector).await;
        }
        let (begun, after) = {
            let kept = self.kept();
            (kept.begun.clone(), kept.after.clone())
        };
        let (Some(begun), Some(after)) = (begun, after) else { return Ok(true) };
        let changed = after.as_ref().map(|after| changes::between(&begun.before, after));
        let tables = changed.as_ref().map(|changed| changes::tables(changed)).unwrap_or_default();
        let checks = if around.connector.cancellation().is_cancelled() {
            Checks::none("the run was told to stop")
        } else {
            Checks::make(around, &begun.intent, &tables, result.is_ok()).await
        };
        let verdict = match result {
            Err(_) => Verdict::Failed,
            Ok(exit::OK) if !checks.passed() => Verdict::DoneWithFindings,
            Ok(exit::OK) if nothing => Verdict::NothingToDo,
            Ok(exit::OK) => Verdict::Done,
            Ok(_) => Verdict::DoneWithFindings,
        };
        let exit = match result {
            Err(failure) => failure.exit,
            Ok(exit::OK) if !checks.passed() => exit::DRIFT,
            Ok(code) => *code,
        };
        if let (Err(failure), Some(log)) = (result, self.screen.log()) {
            log.named("error", &failure.told(&self.run.called));
        }
        let ended = Ended { verdict, exit, failure: result.as_ref().err(), at: OffsetDateTime::now_utc() };
        self.write_files(&begun, &after, changed.as_deref().map_err(|why| why.as_str()), &checks, &ended)?;
        Ok(checks.passed())
    }

    fn write_files(
        &self,
        begun: &Begun,
        after: &Result<Snapshot, String>,
        changes: Result<&[Change], &str>,
        checks: &Checks,
        ended: &Ended<'_>,
    ) -> Result<(), NotWritten> {
        let Self { folder, run, .. } = self;
        folder.free();
        let mut diff = String::new();
        if let Ok(after) = after {
            let (before, after) = (begun.before.to_string(), after.to_string());
            diff = changes::unified(&before, &after, ["schema-before.txt", "schema-after.txt"]);
            folder.write("schema-after.txt", after.as_bytes())?;
            folder.write("schema.diff", diff.as_bytes())?;
        }
        let done = begun.intent.is_stepwise.then(|| self.done.load(Ordering::Relaxed));
        let error = ended.failure.map(|failure| said(failure, run));
        folder.write(
            "checks.json",
            &pretty(&json!({ "passed": checks.passed(), "found": checks, "changes": changes.ok() })),
        )?;
        folder.write("checks.txt", text::checks(checks).as_bytes())?;
        let verdict = json!({
            "verdict": ended.verdict,
            "exit_code": ended.exit,
            "error": ended.failure.map(|failure| failure.told(&run.called)),
            "steps_done": done,
            "checks_passed": checks.passed(),
            "schema_after": changes.err().map_or_else(|| "read".to_owned(), |why| format!("not read: {why}")),
            "plan_digest": begun.intent.digest(),
            "command": run.typed,
            "started": run.started.format(&Rfc3339).ok(),
            "ended": ended.at.format(&Rfc3339).ok(),
        });
        folder.write("verdict.json", &pretty(&verdict))?;
        let page = Page {
            run,
            verdict: ended.verdict,
            error: error.as_deref(),
            ended: ended.at,
            intent: &begun.intent,
            environment: &begun.environment,
            checks,
            changes,
            diff: &diff,
            done,
            events: folder.events(),
        };
        folder.write("index.html", page.html().as_bytes())?;
        let sum = folder.complete()?;
        let path = folder.path().display();
        let verdict = ended.verdict.words().to_lowercase();
        self.screen.aside(crate::text!("the evidence is in {path}: {verdict}; its SHA256SUMS has the SHA-256 {sum}"));
        let kept =
            json!({ "folder": folder.path().to_string_lossy(), "verdict": ended.verdict, "sha256_of_sums": sum });
        self.screen.json("evidence", &kept);
        Ok(())
    }
}

#[async_trait]
impl Witness for Evidence {
    async fn before(&self, intent: Intent, connector: &Connector) -> Result<(), HookError> {
        self.write_before(intent, connector).await
    }

    async fn after(&self, connector: &Connector) {
        if self.kept().begun.is_none() {
            return;
        }
        let is_stopped = connector.cancellation().is_cancelled();
        // What a run has left that was told to stop is worth a look, too.
        let connector = connector.clone().read_only().with_cancellation(CancellationToken::new());
        let look = async {
            let connection = connector.connect("migrate: evidence").await?;
            let taken = Snapshot::take(&connection).await;
            connection.close().await;
            taken
        };
        let looked: Result<Snapshot, db::Error> = if is_stopped {
            tokio::time::timeout(LAST_LOOK, look).await.unwrap_or(Err(db::Error::Interrupted))
        } else {
            look.await
        };
        self.kept().after = Some(looked.map_err(|error| error.to_string()));
    }
}

/// An error as the screen shows it.
fn said(failure: &Failure, run: &Run) -> String {
    let mut said = failure.message.clone();
    if let Some(reported) = &failure.server {
        let report = &reported.server;
        said.extend(["\n", &report.message, " (SQLSTATE ", &report.sqlstate, ")"]);
        for (label, text) in [("detail", &report.detail), ("hint", &report.hint), ("where", &report.context)] {
            if let Some(text) = text {
                said.extend(["\n", label, ": ", text]);
            }
        }
    }
    if let Some(next) = failure.next(&run.called) {
        said.extend(["\nnext: ", &next]);
    }
    said
}

/// A document of several lines. Its strings may hold what a terminal would obey: that is written as `\u1234`.
fn pretty(value: &Value) -> Vec<u8> {
    let written = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut text = String::with_capacity(written.len() + 1);
    for c in written.chars() {
        if c == '\n' || db::is_printable(c) {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text.push('\n');
    text.into_bytes()
}
