//! What the undo of an insertion shows, or its dry run.

use super::Screen;
use crate::db::grouped;
use crate::repair::Moved;
use crate::words::{counted, short};

pub(super) fn taken_out(moved: &Moved, screen: &Screen) {
    screen.show(
        || human(moved, screen),
        |to| to.named(if moved.run.is_some() { "taken_out" } else { "would_take_out" }, moved),
    );
}

fn human(moved: &Moved, screen: &Screen) {
    let Moved { run, undoes, table, rows, changed, gone, duration } = moved;
    let (rows, undoes) = (counted(*rows, "row"), undoes.unwrap_or_default());
    let mut left = String::new();
    if changed + gone > 0 {
        left = format!("; {} changed since and stay, {} are gone", grouped(*changed), grouped(*gone));
    }
    if let Some(run) = run {
        let took = short(*duration);
        screen.out(format!("run {run}: deleted {rows} of {table} that run {undoes} had inserted{left} ({took})"));
        return;
    }
    if moved.rows == 0 {
        screen.out(format!("there is nothing to delete: no row of {table} is as run {undoes} has inserted it{left}"));
        return;
    }
    screen.out(format!("would delete {rows} of {table} that run {undoes} has inserted{left}"));
    let how = screen.command(&format!("repair undo {undoes} --execute"));
    screen.out(format!("nothing was written; {how} does it"));
}
