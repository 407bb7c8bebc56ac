//! Another program: a folder of migrations, a hook, and the whole command line.
//!
//!     DATABASE_URL=postgres://… cargo run --example own_chain -- up --dry-run

use std::process::ExitCode;

use async_trait::async_trait;
use migrate::cli::{Product, main_with};
use migrate::engine::{Forecast, Hook, HookContext, HookError, Outcome, Set};

/// Gives every note a slug, before the second migration demands one.
struct FillSlugs;

const FILL: &str = "UPDATE note SET slug = lower(replace(title, ' ', '-')) WHERE slug IS NULL";

#[async_trait]
impl Hook for FillSlugs {
    fn name(&self) -> &'static str {
        "fill-slugs"
    }

    async fn plan(&self, _: &HookContext) -> Result<Forecast, HookError> {
        Ok(Forecast::work("give every note a slug"))
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let filled = cx.connect().await?.execute(FILL, &[]).await?;
        Ok(Outcome::new(format!("gave {filled} notes a slug")).with("filled", filled))
    }
}

fn main() -> ExitCode {
    let notes = migrate::embed!("$CARGO_MANIFEST_DIR/examples/notes");
    main_with(
        &Product::new("notes-admin", "1.0.0")
            .set(|| Set::from_embedded("notes", &notes)?.before_named("2_note_slug", FillSlugs).build()),
    )
}
