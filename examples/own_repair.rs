//! Another program with a repair of its own, beside everything that `migrate` does.
//!
//!     DATABASE_URL=postgres://… cargo run --example own_repair -- repair negative-words --up-to 40

use std::process::ExitCode;

use async_trait::async_trait;
use migrate::db::Connection;
use migrate::repairs::{Column, Names, Repair, RepairError, Repairs, Rows};
use serde::{Deserialize, Serialize};

/// Notes whose words were counted with the wrong sign.
struct NegativeWords;

#[derive(clap::Args, Serialize, Deserialize)]
struct UpTo {
    /// The last note that was counted by the old program.
    #[arg(long, value_name = "ID")]
    up_to: i64,
}

#[async_trait]
impl Repair for NegativeWords {
    type Arguments = UpTo;

    fn name(&self) -> &'static str {
        "negative-words"
    }

    fn about(&self) -> &'static str {
        "Give notes whose words were counted with the wrong sign the right one"
    }

    fn rows(&self) -> Rows {
        Rows {
            table: "note",
            key: Column::new("id", "bigint"),
            corrects: vec![(Column::new("words", "int"), "-{words}")],
            stamps: vec![],
            rests_on: vec![],
            amount: "words",
            counts: None,
            at: "written_at",
            owner: None,
            names: Names { before: "words_before", after: "words_after", removed: "words_removed" },
            feeds_rollup: false,
        }
    }

    fn eligible(&self, arguments: &UpTo) -> String {
        format!("u.words < 0 AND u.id <= {}", arguments.up_to)
    }

    async fn check(&self, _: &Connection, arguments: &UpTo) -> Result<(), RepairError> {
        if arguments.up_to > 0 { Ok(()) } else { Err(RepairError::refused("notes are counted from 1")) }
    }
}

fn main() -> ExitCode {
    migrate::cli::main_with(Repairs::new().with(NegativeWords))
}
