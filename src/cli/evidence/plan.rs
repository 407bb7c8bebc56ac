//! What is going to be sent, and the way back, as text.

use std::fmt::Write as _;

use super::run::Run;
use crate::engine::{Intent, Sent};
use crate::layout::sha256;
use crate::text::text;
use crate::words::{count, utc};

/// `plan.sql`: every text that is sent, byte for byte, with comments of ours between them.
pub(super) fn sql(intent: &Intent, run: &Run) -> String {
    let mut page = String::new();
    let head = [
        format!("What {} sends to {}, in this order; written {} UTC, before the first of it.", run.program, run.database, utc(run.started)),
        format!("Digest of the plan: {}", intent.digest()),
        "Between the comments each text stands byte for byte as it is sent; behind the last line a line break may be added.".to_owned(),
        "Not shown: the settings of the session, BEGIN and COMMIT where a text is sent in a transaction, and the rows that the".to_owned(),
        "program writes into its own schema, migrate.".to_owned(),
    ];
    for line in head {
        comment(&mut page, &line);
    }
    if intent.sends.is_empty() && intent.records.is_empty() {
        page.push('\n');
        comment(&mut page, "Nothing: there was nothing to do.");
    }
    if !intent.records.is_empty() {
        page.push('\n');
        comment(&mut page, "Recorded in the schema migrate, and not run:");
    }
    for line in &intent.records {
        comment(&mut page, &format!("     {line}"));
    }
    all(&mut page, &intent.sends);
    page
}

/// `rollback.txt`: how to go back, and what that would send.
pub(super) fn rollback(intent: &Intent, run: &Run) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "How to go back\n==============\n");
    let missing = intent.back.iter().filter(|sent| sent.texts.is_empty()).count();
    match &intent.back_command {
        _ if intent.sends.is_empty() => page.push_str("Nothing was done, so there is nothing to take back.\n"),
        Some(command) => {
            let _ = writeln!(page, "    {}\n", text!("{}", run.command(command)).as_str());
            page.push_str("Without --execute, down and repair show what they would do. --evidence DIR keeps evidence of it, too.\n");
        }
        None => {
            let _ = writeln!(
                page,
                "There is no command that takes all of it back: see below ({}).",
                count(missing, "part")
            );
        }
    }
    match &run.approval {
        None => page.push_str("\nRehearsal: none is known to this run. What stands here was not tried by it.\n"),
        Some(approval) => {
            page.push_str("\nRehearsal of the same plan, with all that it has found in rehearsal.json:\n");
            for line in &approval.lines {
                let _ = writeln!(page, "    {}", text!("{line}").as_str());
            }
        }
    }
    if !intent.back.is_empty() {
        page.push_str("\nWhat it consists of, in this order:\n");
    }
    all(&mut page, &intent.back);
    page
}

fn comment(page: &mut String, line: &str) {
    // Foreign names cannot end a comment: a line break is shown as \n.
    let _ = writeln!(page, "-- {}", text!("{line}").as_str());
}

fn all(page: &mut String, all: &[Sent]) {
    for (at, sent) in all.iter().enumerate() {
        page.push('\n');
        comment(page, &format!("==== {} of {}: {}", at + 1, all.len(), sent.title));
        for line in facts(sent) {
            comment(page, &format!("     {line}"));
        }
        for (at, text) in sent.texts.iter().enumerate() {
            if sent.texts.len() > 1 {
                comment(
                    page,
                    &format!("---- statement {} of {}, SHA-256 {}", at + 1, sent.texts.len(), sha256(text.as_bytes())),
                );
            }
            page.push_str(text);
            if !text.ends_with('\n') {
                page.push('\n');
            }
        }
    }
}

/// What is known of one text besides itself.
pub(super) fn facts(sent: &Sent) -> Vec<String> {
    let file = sent.file.iter().map(|file| format!("file {file}"));
    let recorded = sent.recorded.map(|checksum| format!("checksum {checksum}, as the history records it"));
    let sum = match sent.texts.as_slice() {
        [text] => Some(format!("SHA-256 {}", sha256(text.as_bytes()))),
        _ => None,
    };
    file.chain(recorded).chain(sum).chain(sent.notes.iter().cloned()).collect()
}
