//! A repair as whoever witnesses it is shown it.

use serde_json::{Value, json};

use super::RepairError;
use super::batch_sql::BATCH;
use super::finding::Finding;
use super::insertion::{Move, Way};
use super::outcome::totals_to_json;
use super::repairer::Repairer;
use super::task::Task;
use crate::db;
use crate::engine::{Forecast, Intent, Sent};

impl Repairer {
    /// Shows the rows that are going to be changed. Their journal is not committed yet.
    pub(super) async fn before_rows(&self, task: &Task, run: i64, finding: &Finding) -> Result<(), RepairError> {
        let Some(witness) = &self.witness else { return Ok(()) };
        let Task { name, arguments, change, .. } = task;
        let mut step = totals_to_json(&finding.totals, &change.rows);
        if let Some(step) = step.as_object_mut() {
            step.insert("event".to_owned(), json!("would_repair"));
            step.insert("repair".to_owned(), json!(name));
            step.insert("arguments".to_owned(), arguments.clone());
            step.insert("rows_digest".to_owned(), json!(finding.digest));
            step.insert("run".to_owned(), json!(run));
        }
        let send = |title: &str, note: &str, text: String| Sent {
            title: title.to_owned(),
            notes: vec![note.to_owned()],
            texts: vec![text],
            ..Sent::default()
        };
        let derived = change.rows.derived.map(|derived| Sent {
            title: format!("refresh of the {}", derived.words().name),
            notes: vec!["for what depends on the changed rows, unless it is left to others".to_owned()],
            ..Sent::default()
        });
        let mut intent = Intent {
            subject: self.subject(name, arguments),
            steps: vec![step],
            sends: vec![
                send("settings of a batch", "at the beginning of each batch's transaction", BATCH.to_owned()),
                send("a batch", "until no row of the run is left: $1 run, $2 last row, $3 rows", change.apply_next()),
                send("rows that others have locked", "$1 run, $2 these rows", change.lock()),
                send("a batch of such rows", "$1 run, $2 these rows", change.apply_locked()),
            ],
            back_command: Some(format!("repair undo {run} --execute")),
            ..Intent::default()
        };
        intent.subject.push(("rows", finding.digest.clone()));
        intent.sends.extend(derived);
        intent.back.push(Sent {
            title: format!("run {run}, undone"),
            notes: vec!["every row that is still as the run left it gets its values of before".to_owned()],
            ..Sent::default()
        });
        Ok(witness.before(intent, &self.connector.clone().read_only()).await?)
    }

    /// Shows the rows that are going to be inserted or deleted. Their journal is not committed yet.
    pub(super) async fn before_move(
        &self,
        moving: &Move<'_>,
        (name, arguments): (&str, &Value),
        run: i64,
        rows: u64,
    ) -> Result<(), RepairError> {
        let Some(witness) = &self.witness else { return Ok(()) };
        let (settings, batch) = moving.statements();
        let is_undo = matches!(moving.way, Way::Out { .. });
        let send = |title: &str, note: &str, text: String| Sent {
            title: title.to_owned(),
            notes: vec![note.to_owned()],
            texts: vec![text],
            ..Sent::default()
        };
        let back = if is_undo {
            "has no way back: what is missing is inserted again from where it came"
        } else {
            "every row that is still as the run left it is deleted"
        };
        let event = if is_undo { "would_take_out" } else { "would_insert" };
        let table = moving.inserts.table;
        let mut subject = self.subject(name, arguments);
        subject.push(("rows", db::grouped(rows)));
        let intent = Intent {
            subject,
            steps: vec![
                json!({ "event": event, "repair": name, "arguments": arguments, "table": table, "run": run, "rows": rows }),
            ],
            sends: vec![
                send("settings of a batch", "at the beginning of each batch's transaction", settings),
                send("a batch", "until no row of the run is left: $1 run, $2 first row, $3 behind the last", batch),
            ],
            back_command: (!is_undo).then(|| format!("repair undo {run} --execute")),
            back: vec![Sent { title: format!("run {run}"), notes: vec![back.to_owned()], ..Sent::default() }],
            ..Intent::default()
        };
        Ok(witness.before(intent, &self.connector.clone().read_only()).await?)
    }

    /// Shows what is going to be rebuilt.
    pub(super) async fn before_rebuild(
        &self,
        name: &str,
        arguments: &Value,
        plan: &Forecast,
    ) -> Result<(), RepairError> {
        let Some(witness) = &self.witness else { return Ok(()) };
        let intent = Intent {
            subject: self.subject(name, arguments),
            steps: vec![json!({ "event": "would_rebuild", "repair": name, "summary": plan.summary })],
            sends: vec![Sent {
                title: format!("rebuild {name}"),
                notes: vec![format!("a program; expects to {}", plan.summary)],
                ..Sent::default()
            }],
            back: vec![Sent {
                title: name.to_owned(),
                notes: vec!["has no way back, and needs none: the data is computed from other rows".to_owned()],
                ..Sent::default()
            }],
            ..Intent::default()
        };
        Ok(witness.before(intent, &self.connector.clone().read_only()).await?)
    }

    /// Shows what has become of it.
    pub(super) async fn after(&self) {
        if let Some(witness) = &self.witness {
            witness.after(&self.connector.clone().read_only()).await;
        }
    }

    fn subject(&self, name: &str, arguments: &Value) -> Vec<(&'static str, String)> {
        vec![("set", self.set.clone()), ("repair", name.to_owned()), ("arguments", arguments.to_string())]
    }
}
