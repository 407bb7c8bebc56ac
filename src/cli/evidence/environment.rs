//! With what, on what and as whom a run was made.

use std::fs;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::run::Run;
use crate::db::{Connection, Error};
use crate::layout::sha256;

/// `environment.json`.
pub(super) async fn environment(connection: &Connection, run: &Run) -> Result<Value, Error> {
    let row = connection.query_one(include_str!("environment.sql"), &[]).await?;
    let mut found: Value = row.try_get("found")?;
    if let Some(found) = found.as_object_mut() {
        found.insert("program".to_owned(), program(run));
        found.insert("connected_to".to_owned(), json!(run.database));
        found.insert("set".to_owned(), json!(run.set));
        found.insert("command".to_owned(), json!(run.typed));
        found.insert("started".to_owned(), json!(run.started.format(&Rfc3339).ok()));
        found.insert("run_by".to_owned(), run_by());
    }
    Ok(found)
}

fn program(run: &Run) -> Value {
    let executable = std::env::current_exe().ok();
    // The file that runs, even if another one has taken its place since.
    let read = fs::read("/proc/self/exe").ok().or_else(|| fs::read(executable.as_ref()?).ok());
    json!({
        "name": run.program,
        "version": run.version,
        "executable": executable.map(|path| path.to_string_lossy().into_owned()),
        "sha256": read.map(|bytes| sha256(&bytes)),
    })
}

/// Whose hands, as far as the machine says.
fn run_by() -> Value {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    json!({ "user": name, "host": host.map(|host| host.trim().to_owned()) })
}
