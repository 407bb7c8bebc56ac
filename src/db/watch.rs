//! A second session, which sees what a statement of the first one waits for. It is opened when a statement takes longer than
//! a second.

use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::waits::{InTheWay, TooLong, Watcher};
use super::{Connection, Connector, Error, Holder, Waiting};

/// How often to look for the blocking session, and how often to report it.
const EVERY: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The first look, even with a shorter limit: most statements have ended by then.
const FIRST_LOOK: Duration = Duration::from_millis(200);

impl Watcher for Connector {
    fn watch<'a>(&'a self, pid: i32, in_the_way: &'a InTheWay) -> Pin<Box<dyn Future<Output = TooLong> + Send + 'a>> {
        Box::pin(async move {
            let mut waited = self.waits().limit().clamp(FIRST_LOOK, EVERY);
            tokio::time::sleep(waited).await;
            loop {
                let began = Instant::now();
                match look(self, pid, in_the_way, &mut waited).await {
                    Ok(too_long) => return too_long,
                    // Tries again: if the server does not answer, a notice reports each attempt that takes long.
                    Err(error) => tracing::debug!("cannot see what a statement waits for: {error}"),
                }
                tokio::time::sleep(REPORT_EVERY.saturating_sub(began.elapsed()).max(EVERY)).await;
            }
        })
    }
}

async fn look(connector: &Connector, pid: i32, in_the_way: &InTheWay, waited: &mut Duration) -> Result<TooLong, Error> {
    let waits = connector.waits();
    let mut looked = Instant::now();
    let session = connector.clone().unwatched().bare().connect("migrate: watch").await?;
    let mut reported: Option<Instant> = None;
    loop {
        if let Some((holder, what)) = blocker(&session, pid).await? {
            *waited += looked.elapsed();
            *in_the_way.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder.clone());
            let limit = waits.limit();
            if *waited >= limit {
                return Ok(TooLong { waited: limit, what, holder });
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                waits.tell(Waiting { what: what.into(), holder: Some(holder), waited: *waited });
            }
        }
        looked = Instant::now();
        session.pause(EVERY.min(waits.limit().saturating_sub(*waited)).max(Duration::from_millis(50))).await?;
    }
}

async fn blocker(session: &Connection, pid: i32) -> Result<Option<(Holder, &'static str)>, Error> {
    let row = session.query_opt(include_str!("blocker.sql"), &[&pid]).await?;
    Ok(row.map(|row| {
        let what = match row.get("locktype") {
            Some("virtualxid") => "an older transaction to end",
            Some("relation") => "a table",
            Some("transactionid" | "tuple") => "a row",
            Some("advisory") => "an advisory lock",
            _ => "a lock",
        };
        (Holder::from_row(&row), what)
    }))
}
