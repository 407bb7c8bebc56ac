//! Watching a statement that runs outside a transaction, while it waits for others.
//!
//! A concurrent index build waits for every transaction that is older than it. Mostly that is an application's, and the
//! operator is told whose, as with every statement. It can also be another migrator that waits for our lock inside the server, as older
//! programs do: it waits for us, we wait for it, and because the lock is held by a session of its own, PostgreSQL does
//! not see the deadlock. Such a wait is cancelled; that program fails, is started again, and waits anew.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::event::Event;
use crate::db::{Connection, Connector, Error, Holder, LockKey, Notice, Observer};

const EVERY: Duration = Duration::from_secs(1);

/// A statement stands in a queue for a fraction of a second only.
const EVERY_WHILE_QUEUED: Duration = Duration::from_millis(100);

/// Sessions that session `$1` waits for, and whether each of them waits for advisory lock `$2` in turn.
const BLOCKERS: &str = "
    SELECT b.pid, a.application_name AS application, pg_catalog.host(a.client_addr) AS client, coalesce(a.xact_start, a.backend_start) AS since,
           EXISTS (
               SELECT FROM pg_catalog.pg_locks l
               WHERE l.pid = b.pid
                 AND NOT l.granted
                 AND l.locktype = 'advisory'
                 AND l.objsubid = 1
                 AND (l.classid::bigint << 32) | l.objid::bigint = $2
           ) AS waits_for_lock
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) b (pid)
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
    WHERE b.pid <> 0";

/// Watches the session `watched` for as long as this future is polled. Returns only when the statement that runs there
/// can never end by itself. It is cancelled then, and `given_up` says which session would have had to end first; noted
/// beforehand, since the statement may be over before we hear of it.
pub(super) async fn watch(
    connector: &Connector,
    watched: i32,
    lock: LockKey,
    observer: &Observer<Event>,
    given_up: &Mutex<Option<Holder>>,
) -> Result<(), Error> {
    let connection = connector.connect("migrate: watch").await?;
    loop {
        connection.pause(EVERY).await?;
        for row in connection.query(BLOCKERS, &[&watched, &lock.key]).await? {
            let holder = Holder::from_row(&row);
            if !row.get::<_, bool>("waits_for_lock") {
                continue;
            }
            // Whatever ends thereby may end our statement, and with it this watch, before we hear that it has worked.
            let cancelling = cancel_wait(connection.clone(), holder.clone(), observer.clone());
            if !tokio::spawn(cancelling).await.unwrap_or(false) {
                *given_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder);
                connection.execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&watched]).await?;
                return Ok(());
            }
        }
    }
}

/// Notes whom the session `watched` waits for, the oldest transaction of several, for as long as this future is polled.
pub(super) async fn note_blocker(connector: &Connector, watched: i32, lock: LockKey, noted: &Mutex<Option<Holder>>) {
    let looking = async {
        let connection = connector.connect("migrate: watch").await?;
        loop {
            connection.pause(EVERY_WHILE_QUEUED).await?;
            let rows = connection.query(BLOCKERS, &[&watched, &lock.key]).await?;
            let oldest = rows.iter().map(Holder::from_row).min_by_key(|holder| holder.since);
            if let Some(oldest) = oldest {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(oldest);
            }
        }
    };
    let ended: Result<Infallible, Error> = looking.await;
    let Err(error) = ended;
    tracing::debug!("who is in the way cannot be seen: {error}");
    // What is watched goes on all the same.
    std::future::pending::<()>().await;
}

/// Cancels the statement of a session that waits for our lock inside the server; false if we may not.
async fn cancel_wait(connection: Connection, holder: Holder, observer: Observer<Event>) -> bool {
    let cancelled = connection.query_one("SELECT pg_catalog.pg_cancel_backend($1)", &[&holder.pid]).await;
    if let Err(error) = cancelled {
        tracing::debug!("the wait of {holder} could not be cancelled: {error}");
        return false;
    }
    observer.tell(Event::Notice(Notice {
        severity: "WARNING".to_owned(),
        message: format!("cancelled the statement of {holder}, which waited for the migration lock inside the server"),
        detail: Some(
            "The index build waits for every older transaction, that one included: a deadlock that PostgreSQL does not detect."
                .to_owned(),
        ),
        hint: None,
    }));
    true
}
