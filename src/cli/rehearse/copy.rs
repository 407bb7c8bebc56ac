//! The database that a rehearsal is played on: one that the operator names, or one made for it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::db::{self, Connection, Connector, Database, ident, is_same_database};
use crate::engine::{Event, Migrator, Plan, UpOptions, Version};
use crate::exit;
use crate::failure::Failure;
use crate::text;
use crate::up::Pending;
use crate::words::count;

/// The environment's name for the copy: it keeps the password out of the process list.
pub(super) const COPY_URL: &str = "MIGRATE_REHEARSAL_URL";

/// How long a session that has been closed may still be seen.
const LEAVING: Duration = Duration::from_secs(2);

/// Where a rehearsal is played.
pub(super) struct Copy {
    pub database: Database,
    /// The one that was made for it, and where.
    made: Option<Connector>,
    /// How many made-up rows were asked for.
    pub rows: Option<u64>,
}

impl Copy {
    /// The copy that the operator names.
    pub async fn named(
        url: &OsStr,
        main: Option<&Database>,
        in_use: bool,
        pending: &Pending,
        call: &Call<'_>,
    ) -> Result<Self, Failure> {
        let url = url.to_str().ok_or_else(|| Failure::usage("the URL of the copy cannot be used: it is not UTF-8"))?;
        let database = Database::from_url(url)?;
        // Nothing is written with it; a transaction would see the sessions of one moment only.
        let connection = connector(&database, call).connect("migrate: rehearsal").await?;
        let shown = database.to_string();
        if let Some(main) = main {
            let other = connector(main, call).read_only().connect("migrate: rehearsal").await?;
            if is_same_database(&connection, &other).await? {
                let message = format!("{shown} is the database itself, not a copy of it");
                let hint = "nothing was done; restore a backup into another database, and name that; or pass --scratch";
                return Err(Failure::new(exit::REFUSED, message).hint(hint));
            }
            other.close().await;
        }
        refuse_unless_fit(&connection, &shown, in_use).await?;
        let has_tables = has_tables(&connection).await?;
        connection.close().await;
        let there = Box::pin(plan(&database, pending, call)).await?;
        match main {
            Some(main) => {
                let here = Box::pin(plan(main, pending, call)).await?;
                if here.current != there.current || here.versions() != there.versions() {
                    return Err(no_copy_of(main, &here, &shown, &there));
                }
            }
            None if there.current == Version::NONE && has_tables && !pending.has_baseline() => {
                let message = format!("{shown} has tables, and no history of set {}", call.content.name());
                let hint = "nothing was done; if it is a copy all the same, pass the URL of the database that it is a copy of, too";
                return Err(Failure::new(exit::REFUSED, message).hint(hint));
            }
            None => {}
        }
        Ok(Self { database, made: None, rows: None })
    }

    /// A new database beside this one, built to the version that this one has.
    pub async fn made(
        main: &Database,
        rows: Option<u64>,
        pending: &Pending,
        call: &Call<'_>,
    ) -> Result<Option<Self>, Failure> {
        let beside = connector(main, call);
        let plan = Box::pin(plan(main, pending, call)).await?;
        if plan.is_empty() {
            return Ok(None);
        }
        if rows.is_some() && call.content.made_up_rows(plan.current).is_none() {
            let message = format!("set {} has no made-up rows for version {}", call.content.name(), plan.current);
            let hint = "nothing was done; leave --rows out, or rehearse on a restored backup: rehearse --on URL";
            return Err(Failure::usage(message).hint(hint));
        }
        let name = format!("migrate_rehearsal_{}", name_part());
        let session = beside.connect("migrate: rehearsal").await?;
        tell_of_leftovers(&session, call).await?;
        let made = Self { database: main.named(&name), made: Some(beside), rows };
        if let Err(error) = session.batch(&format!("CREATE DATABASE {}", ident(&name))).await {
            // One that was told to stop may have come to its end all the same.
            made.remove(call).await;
            return Err(not_made(error, main));
        }
        session.close().await;
        if let Err(failure) = Box::pin(made.build(plan.current, call)).await {
            made.remove(call).await;
            return Err(failure);
        }
        Ok(Some(made))
    }

    /// Brings the new database to `version`, and fills it.
    async fn build(&self, version: Version, call: &Call<'_>) -> Result<(), Failure> {
        let at = connector(&self.database, call);
        call.screen.aside(text!("building {} at version {version}", self.database.name()));
        if version > Version::NONE {
            let set = call.content.set_for(&at).await?;
            let migrator = Migrator::new(set, self.database.clone(), call.interrupt.token().clone(), |_| {});
            let options = UpOptions { target: Some(version), lock_wait: call.lock_wait, ..UpOptions::default() };
            migrator.up(&options).await.map_err(|error| {
                let failure = Failure::from(error);
                let message = format!("the set cannot be built to version {version} from nothing: {}", failure.message);
                Failure { message, ..failure }.hint("rehearse on a restored backup: rehearse --on URL")
            })?;
        }
        let (Some(rows), Some(sql)) = (self.rows, call.content.made_up_rows(version)) else { return Ok(()) };
        call.screen.aside(text!("writing {} made-up rows", db::grouped(rows)));
        let connection = at.connect("migrate: rehearsal").await?;
        connection.batch(&format!("SET migrate.rows TO '{rows}'")).await?;
        connection.batch(sql).await?;
        connection.batch("ANALYZE").await?;
        connection.close().await;
        Ok(())
    }

    /// Whether it was made for the rehearsal.
    pub fn is_made(&self) -> bool {
        self.made.is_some()
    }

    /// Drops it, if it was made for the rehearsal. Also after the program was told to stop.
    pub async fn remove(&self, call: &Call<'_>) {
        let Some(beside) = &self.made else { return };
        let name = ident(self.database.name());
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let dropped = async {
            let beside = beside.clone().with_cancellation(CancellationToken::new());
            let session = beside.connect("migrate: rehearsal").await?;
            session.batch(&drop).await?;
            session.close().await;
            Ok::<_, db::Error>(())
        };
        if let Err(error) = dropped.await {
            call.screen.complaint(
                &Failure::new(exit::FAILED, format!("the database {name} of this rehearsal is still there: {error}"))
                    .hint(format!("drop it: {drop}")),
            );
        }
    }
}

/// Sessions on a database; what is asked there for the rehearsal is nothing that the screen should tell.
pub(super) fn connector(database: &Database, call: &Call<'_>) -> Connector {
    let connector = Connector::new(database.clone(), call.interrupt.token().clone());
    connector.wait_at_most(call.lock_wait);
    connector
}

/// What is pending in a database. Nothing is written.
async fn plan(database: &Database, pending: &Pending, call: &Call<'_>) -> Result<Plan, Failure> {
    let set = call.content.set_for(&connector(database, call)).await?;
    let options = pending.options(&set, call.lock_wait)?;
    let mut migrator = Migrator::new(set, database.clone(), call.interrupt.token().clone(), |_| {});
    if call.unchosen.is_doubtful {
        migrator = migrator.refuse_others();
    }
    Ok(migrator.preview(&options).await?)
}

/// Whether a database has any table.
async fn has_tables(connection: &Connection) -> Result<bool, Failure> {
    const TABLES: &str = "
        SELECT EXISTS (
            SELECT FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'migrate')
        ) AS tables";
    Ok(connection.query_one(TABLES, &[]).await?.get("tables"))
}

/// Something else is pending there.
fn no_copy_of(main: &Database, here: &Plan, shown: &str, there: &Plan) -> Failure {
    let versions = |plan: &Plan| count(plan.migrations(), "migration");
    let message = format!(
        "{shown} is at version {} with {} pending, and {main} is at version {} with {}: it is no copy of it",
        there.current,
        versions(there),
        here.current,
        versions(here)
    );
    let hint = "nothing was done; restore a backup of it as it is now. A copy serves for one rehearsal";
    Failure::new(exit::REFUSED, message).hint(hint)
}

/// A copy has no other clients. A database that has some may be the wrong one; so is one that others are made from.
async fn refuse_unless_fit(connection: &Connection, shown: &str, in_use: bool) -> Result<(), Failure> {
    // The server's own workers have no role. What kind a session of another role is, this one may not be allowed to see.
    const FIT: &str = "
        SELECT pg_catalog.current_setting('track_counts') AS counts, d.datistemplate AS is_template,
               pg_catalog.count(a.pid) AS sessions,
               coalesce(pg_catalog.string_agg(DISTINCT nullif(a.application_name, ''), ', '), '') AS programs
        FROM pg_catalog.pg_database d
        LEFT JOIN pg_catalog.pg_stat_activity a
               ON a.datid = d.oid AND a.usesysid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
        WHERE d.datname = pg_catalog.current_database()
        GROUP BY d.datistemplate";
    let since = Instant::now();
    let found = loop {
        let found = connection.query_one(FIT, &[]).await?;
        // Whoever has just restored the backup may still be about to leave.
        if found.get::<_, i64>("sessions") == 0 || in_use || since.elapsed() > LEAVING {
            break found;
        }
        connection.pause(Duration::from_millis(100)).await?;
    };
    let refused = |message: String| Failure::new(exit::REFUSED, message);
    if found.get("is_template") {
        let message = format!("{shown} is a template: what a rehearsal leaves in it would be in every new database");
        return Err(refused(message).hint("nothing was done; restore a backup into another database, and name that"));
    }
    if found.get::<_, &str>("counts") != "on" {
        let message = format!("the server of {shown} does not count what is read and changed: track_counts is off");
        return Err(refused(message).hint("nothing was done; switch it on for the rehearsal"));
    }
    let (sessions, programs): (i64, String) = (found.get("sessions"), found.get("programs"));
    if sessions == 0 || in_use {
        return Ok(());
    }
    let programs = if programs.is_empty() { String::new() } else { format!(" ({programs})") };
    let noun = if sessions == 1 { "session uses" } else { "sessions use" };
    let message = format!("{sessions} other {noun} {shown}{programs}, so it may not be a copy");
    let hint = "nothing was done; a rehearsal changes the database and drops data on the way back. Make sure that it is a copy, then end \
                these sessions, or pass --in-use: what they do is then measured, too";
    Err(refused(message).hint(hint))
}

/// Tells of databases that a killed rehearsal has left.
async fn tell_of_leftovers(session: &Connection, call: &Call<'_>) -> Result<(), Failure> {
    const LEFT: &str = "
        SELECT d.datname::text AS name FROM pg_catalog.pg_database d
        WHERE d.datname LIKE 'migrate\\_rehearsal\\_%'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid)
        ORDER BY d.datname";
    for row in session.query(LEFT, &[]).await? {
        let name = ident(row.get("name"));
        let left = text!("a rehearsal that was killed has left the database {name}; DROP DATABASE {name} removes it");
        call.screen.aside_in(crate::text::YELLOW, left);
    }
    Ok(())
}

fn not_made(error: db::Error, main: &Database) -> Failure {
    if !error.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    let message = format!("role {} may not create a database for the rehearsal", main.user());
    let grant = format!("ALTER ROLE {} CREATEDB", ident(main.user()));
    let hint = format!("nothing was done; let a superuser run {grant}, or restore a backup and pass --on URL");
    Failure::new(exit::REFUSED, message).hint(hint)
}

/// Tells this rehearsal's database from that of another.
fn name_part() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("{}_{}", now.unix_timestamp(), std::process::id())
}

/// The screen's observer for the copy.
pub(super) fn observed(call: &Call<'_>) -> impl Fn(Event) + Send + Sync + 'static {
    let (screen, around) = (Arc::clone(call.screen), call.unchosen.clone());
    let named = AtomicBool::new(false);
    move |event| {
        around.event(&event, &screen);
        match event {
            // It is one database all the time.
            Event::Connected { .. } if named.swap(true, Ordering::Relaxed) && !screen.is_json() => {}
            // The result has these again.
            Event::MigrationApplied { .. }
            | Event::RepeatableApplied { .. }
            | Event::TakenBack { .. }
            | Event::HookFinished { .. }
            | Event::Adopted { .. }
            | Event::Finished { .. }
            | Event::DownFinished { .. }
                if !screen.is_json() => {}
            event => screen.event(event),
        }
    }
}
