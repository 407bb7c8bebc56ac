//! A server that migrates when it starts. Several may start at once: one does the work, the others wait for it.
//!
//!     DATABASE_URL=postgres://… cargo run --example at_start

use migrate::CancellationToken;
use migrate::db::Database;
use migrate::engine::{Error, Migrator, Set, UpOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let notes = Set::from_embedded("notes", &migrate::embed!("$CARGO_MANIFEST_DIR/examples/notes"))?.build()?;
    let database = Database::from_url(&std::env::var("DATABASE_URL").unwrap_or_default())?;
    let done = Migrator::new(notes, database, CancellationToken::new(), |_| {}).up(&UpOptions::default()).await?;
    println!("at version {}", done.version);
    // From here on, the server would serve: axum::serve(listener, router).await
    Ok(())
}
