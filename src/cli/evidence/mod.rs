//! `--evidence DIR`: a folder that shows what a run was going to do, what it did, and what it left, to somebody who has
//! nothing but the folder.

mod changes;
mod checks;
mod environment;
mod flag;
mod folder;
mod keep;
mod page;
mod plan;
mod run;
mod text;
mod verify;

pub(super) use self::changes::unified;
pub(super) use self::checks::Around;
pub(super) use self::flag::EvidenceFlag;
pub(super) use self::keep::Evidence;
pub(super) use self::run::Approval;
pub(super) use self::verify::{command as verify_command, of_verify, run as verify};
