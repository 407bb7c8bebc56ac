//! Another program: a set of its own with a repair, and the whole command line of `migrate`.
//!
//!     DATABASE_URL=postgres://… cargo run --example own_repair -- repair negative-words --up-to 40

use std::process::ExitCode;

use migrate::cli::{Content, Product, main_with};
use migrate::engine::{Set, SetError};
use migrate::repair::{Column, Repair, Repairs, Rows};
use serde::{Deserialize, Serialize};

/// Notes whose words were counted with the wrong sign.
#[derive(clap::Args, Serialize, Deserialize)]
struct NegativeWords {
    /// The last note that was counted by the old program.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    up_to: i64,
}

impl Repair for NegativeWords {
    fn name() -> &'static str {
        "negative-words"
    }

    fn about() -> &'static str {
        "Give notes whose words were counted with the wrong sign the right one"
    }

    fn rows() -> Rows {
        Rows::new("note", Column::new("id", "bigint"), "written_at", Column::new("words", "int"), "-u.words")
    }

    fn eligible(&self) -> String {
        format!("u.words < 0 AND u.id <= {}", self.up_to)
    }
}

/// What the program carries.
struct Notes;

impl Content for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn set(&self) -> Result<Set, SetError> {
        let note = "CREATE TABLE note (id bigint PRIMARY KEY, words int NOT NULL, written_at timestamptz NOT NULL)";
        Set::builder(self.name()).migration("V1__note", note).build()
    }

    fn repairs(&self) -> Repairs {
        Repairs::new().with::<NegativeWords>()
    }
}

fn main() -> ExitCode {
    main_with(&Product::new("notes", "1.0.0").with(Notes))
}
