//! Waiting for streaming replicas that lag.
//!
//! The lag is the age of the oldest log position that we have noted and that the replica has not replayed. While a replica
//! has anything left to replay, the server's `replay_lag` counts, too: it shows a lag from before our start, and a replica
//! that is configured to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::RepairError;
use super::event::RepairEvent;
use crate::db::{Connection, Observer};

const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How often the lag is checked while a replica is behind.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Seen {
    fn from_row(row: &Row) -> Self {
        Self { name: row.get("replica"), replayed: row.get("replayed"), reported: row.get("reported") }
    }
}

/// The lag limit, and what is needed to measure the lag.
pub(super) struct Replicas {
    max_lag: Option<Duration>,
    /// Positions in the log, and when they were noted.
    noted: VecDeque<(Instant, i64)>,
}

struct Seen {
    name: String,
    replayed: Option<i64>,
    reported: f64,
}

impl Replicas {
    pub fn new(max_lag: Option<Duration>) -> Self {
        Self { max_lag, noted: VecDeque::new() }
    }

    /// Checks that this role can see the lag of the replicas, if there is a limit.
    pub async fn can_be_seen(&mut self, connection: &Connection) -> Result<(), RepairError> {
        if self.max_lag.is_some() {
            self.furthest_behind(connection).await?;
        }
        Ok(())
    }

    /// Waits while a replica lags by more than the limit, at most until `deadline`. No transaction is open meanwhile.
    pub async fn keep_up(
        &mut self,
        connection: &Connection,
        deadline: Option<Instant>,
        observer: &Observer<RepairEvent>,
    ) -> Result<(), RepairError> {
        let Some(max_lag) = self.max_lag else { return Ok(()) };
        let mut reported: Option<Instant> = None;
        while let Some((replica, lag)) = self.furthest_behind(connection).await?.filter(|(_, lag)| *lag > max_lag) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                observer.tell(RepairEvent::ReplicaBehind { replica, lag });
            }
            connection.pause(LOOK_EVERY).await?;
        }
        Ok(())
    }

    async fn furthest_behind(&mut self, connection: &Connection) -> Result<Option<(String, Duration)>, RepairError> {
        // Base backups stream, too, and replay nothing.
        const REPLICAS: &str = "
            SELECT coalesce(nullif(application_name, ''), pg_catalog.host(client_addr), 'pid ' || pid::text) AS replica,
                   (replay_lsn - '0/0')::bigint AS replayed,
                   coalesce(extract(epoch FROM replay_lag), 0)::float8 AS reported,
                   state IS NULL AS hidden
            FROM pg_catalog.pg_stat_replication
            WHERE state IS NULL OR state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL";
        const POSITION: &str = "SELECT (pg_catalog.pg_current_wal_lsn() - '0/0')::bigint AS position";
        let now = Instant::now();
        let position: i64 = connection.query_one(POSITION, &[]).await?.get("position");
        if self.noted.back().is_none_or(|(_, noted)| *noted < position) {
            self.noted.push_back((now, position));
        }
        let rows = connection.query(REPLICAS, &[]).await?;
        if rows.iter().any(|row| row.get("hidden")) {
            return Err(RepairError::refused_with_hint(
                "this role may not see how far a replica is behind",
                "GRANT pg_read_all_stats TO <role>, or leave out --max-lag",
            ));
        }
        let replicas: Vec<Seen> = rows.iter().map(Seen::from_row).collect();
        let slowest = replicas.iter().filter_map(|replica| replica.replayed).min().unwrap_or(i64::MAX);
        while self.noted.front().is_some_and(|(_, noted)| *noted <= slowest) {
            self.noted.pop_front();
        }
        let behind = replicas.into_iter().filter_map(|replica| {
            let replayed = replica.replayed?;
            if replayed >= position {
                return None;
            }
            let ours = self.noted.iter().find(|(_, noted)| *noted > replayed);
            let ours = ours.map_or(Duration::ZERO, |(at, _)| at.elapsed());
            let reported = Duration::try_from_secs_f64(replica.reported).unwrap_or_default();
            Some((replica.name, ours.max(reported)))
        });
        Ok(behind.max_by_key(|(_, lag)| *lag))
    }
}
