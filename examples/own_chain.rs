//! Another program with a chain of its own: two migrations, and a hook between them.
//!
//!     DATABASE_URL=postgres://… cargo run --example own_chain

use async_trait::async_trait;
use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Event, Forecast, Hook, HookContext, HookError, Migrator, Outcome, Set, UpOptions};

/// Gives every note a slug, before the second migration demands one.
struct FillSlugs;

const THERE: &str = "SELECT to_regclass('note') IS NOT NULL AS there";
const MISSING: &str = "SELECT count(*) AS missing FROM note WHERE slug IS NULL";
const FILL: &str = "UPDATE note SET slug = lower(replace(title, ' ', '-')) WHERE slug IS NULL";

#[async_trait]
impl Hook for FillSlugs {
    fn name(&self) -> &'static str {
        "fill-slugs"
    }

    async fn plan(&self, cx: &HookContext) -> Result<Forecast, HookError> {
        let connection = cx.connect().await?;
        if !connection.query_one(THERE, &[]).await?.get::<_, bool>("there") {
            return Ok(Forecast::nothing("there are no notes yet"));
        }
        let missing: i64 = connection.query_one(MISSING, &[]).await?.get("missing");
        Ok(Forecast::work(format!("give {missing} notes a slug")))
    }

    async fn run(&self, cx: &HookContext) -> Result<Outcome, HookError> {
        let filled = cx.connect().await?.execute(FILL, &[]).await?;
        Ok(Outcome::new(format!("gave {filled} notes a slug")).with("filled", filled))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let set = Set::builder("notes")
        .migration(
            "V1__note",
            "CREATE TABLE note (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, title text NOT NULL, slug text);
             INSERT INTO note (title) VALUES ('First note'), ('Second note');",
        )
        .migration("V2__note_slug", "ALTER TABLE note ALTER COLUMN slug SET NOT NULL;")
        .before(2, FillSlugs)
        .build()?;
    let database = Database::from_url(&std::env::var("DATABASE_URL")?)?;
    let migrator = Migrator::new(set, database, CancellationToken::new(), |event: Event| match event {
        Event::MigrationApplied { version, name, .. } => println!("applied V{version} {name}"),
        Event::HookFinished { hook, outcome, .. } => println!("{hook} {}", outcome.summary),
        _ => {}
    });
    let summary = migrator.up(&UpOptions::default()).await?;
    println!("at version {}", summary.version);
    Ok(())
}
