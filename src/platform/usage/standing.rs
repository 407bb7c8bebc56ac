//! The state of the hourly rollup, and what calls its tick.

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::RollupError;
use super::pipeline::{Pipeline, has_table, queue};
use super::tick::WATCH_APPLICATION;
use super::too_large::{self, KeptOut};
use crate::db::{Connection, Error, Holder};

/// The state of the rollup.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The watermark, as the server writes it, in UTC.
    pub watermark: String,
    /// Seconds from there to the database's clock.
    pub lag: f64,
    /// Reports of changes in the queues.
    pub queued: i64,
    /// When the oldest of them was made.
    #[serde(with = "time::serde::rfc3339::option")]
    pub queued_since: Option<OffsetDateTime>,
    /// When the last tick began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_run_started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_run_finished_at: Option<OffsetDateTime>,
    /// Buckets that it wrote and deleted.
    pub last_run_rows: Option<i64>,
    /// Why it failed, if it did and its caller recorded that.
    pub last_error: Option<String>,
    /// The oldest transaction that is writing usage, if it has held the watermark back for more than five minutes, or its
    /// start cannot be read: it is prepared (then the pid is 0), or another role's.
    pub held_back_by: Option<Holder>,
    /// How many buckets are kept out because one of their sums exceeds a bigint.
    pub too_large: u64,
    /// The latest of them.
    pub kept_out: Vec<KeptOut>,
    /// The rollup in force.
    pub pipeline: Pipeline,
    /// What calls the tick.
    pub scheduling: Scheduling,
}

/// What calls the tick, as far as this role can see.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scheduling {
    /// Jobs of `pg_cron`.
    pub jobs: Vec<CronJob>,
    /// Whether `pg_cron` may have jobs of other roles, which this role cannot see.
    pub may_have_more_jobs: bool,
    /// Sessions of `migrate rollup watch`.
    pub watches: Vec<Holder>,
    /// A tick ended less than 15 minutes ago.
    pub ticked_lately: bool,
    /// Where `pg_cron` runs.
    pub cron: Cron,
}

/// A job of `pg_cron` that calls the tick.
#[derive(Clone, Debug, Serialize)]
pub struct CronJob {
    /// Its number.
    pub id: i64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// When it runs.
    pub schedule: String,
    /// Whether it is switched on.
    pub active: bool,
    /// How its last run went, in the words of `pg_cron`.
    pub last_run: Option<String>,
}

impl CronJob {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("jobid")?,
            name: row.try_get("jobname")?,
            schedule: row.try_get("schedule")?,
            active: row.try_get("active")?,
            last_run: row.try_get("last_run")?,
        })
    }
}

/// Where `pg_cron` runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "at", content = "database", rename_all = "snake_case")]
pub enum Cron {
    /// The server does not run it.
    #[default]
    Nowhere,
    /// The extension is in this database.
    Here,
    /// Its jobs are kept in another database, also those for this one. They are not read.
    In(String),
}

/// One way to schedule the tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Where: "in this database".
    pub place: String,
    /// The statement or command.
    pub command: String,
}

impl Scheduling {
    /// Whether the tick seems to be called.
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.ticked_lately || !self.watches.is_empty() || self.jobs.iter().any(|job| job.active)
    }

    /// How to schedule it. `database` is the name of the database to roll up, `watch` the command that does it without `pg_cron`.
    #[must_use]
    pub fn ways(&self, database: &str, watch: String) -> Vec<Way> {
        const JOB: &str = "'rollup_task_usage_hourly', '*/5 * * * *', 'SELECT rollup_task_usage_hourly()'";
        let database = database.replace('\'', "''");
        let cron = match &self.cron {
            Cron::Nowhere => None,
            Cron::Here => {
                Some(Way { place: "in this database".to_owned(), command: format!("SELECT cron.schedule({JOB});") })
            }
            Cron::In(home) => Some(Way {
                place: format!("in database {home}"),
                command: format!("SELECT cron.schedule_in_database({JOB}, '{database}');"),
            }),
        };
        let watch = Way { place: "as a process of its own".to_owned(), command: watch };
        cron.into_iter().chain([watch]).collect()
    }

    /// Reads it; none if there is no rollup.
    ///
    /// # Errors
    ///
    /// What the server says. What this role may not see counts as absent.
    pub async fn read(connection: &Connection) -> Result<Option<Self>, Error> {
        // A name from the URL, or from a pooler, follows ours. Every role may see a session's name, but not every role its
        // address and start.
        const WATCHES: &str = "
            SELECT pid, application_name AS application, pg_catalog.host(client_addr) AS client, backend_start AS since
            FROM pg_catalog.pg_stat_activity
            WHERE datname = pg_catalog.current_database() AND pg_catalog.starts_with(application_name, $1) AND pid <> pg_catalog.pg_backend_pid()
            ORDER BY backend_start";
        const LATELY: &str = "
            SELECT coalesce(pg_catalog.bool_or(last_run_finished_at > pg_catalog.now() - interval '15 minutes'
                                    AND last_run_finished_at < pg_catalog.now() + interval '15 minutes'), false) AS ticked
            FROM task_usage_hourly_rollup_state";
        super::may_look(connection).await?;
        if !has_table(connection, "task_usage_hourly_rollup_state").await? {
            return Ok(None);
        }
        let rows = connection.query(WATCHES, &[&WATCH_APPLICATION]).await?;
        let watches = rows
            .iter()
            .map(|row| Holder {
                pid: row.get("pid"),
                application: row.get("application"),
                client: row.get("client"),
                since: row.get("since"),
            })
            .collect();
        let ticked_lately = connection.query_one(LATELY, &[]).await?.get("ticked");
        let (cron, jobs, may_have_more_jobs) = cron_jobs(connection).await?;
        Ok(Some(Self { jobs, may_have_more_jobs, watches, ticked_lately, cron }))
    }
}

/// Where `pg_cron` is, its jobs that call the tick, and whether there may be jobs that this role cannot see.
async fn cron_jobs(connection: &Connection) -> Result<(Cron, Vec<CronJob>, bool), Error> {
    const CRON: &str = include_str!("cron.sql");
    const JOBS: &str = "
        SELECT j.jobid, j.jobname::text AS jobname, j.schedule, j.active, {last_run} AS last_run
        FROM cron.job j
        WHERE j.database = pg_catalog.current_database()
          AND (j.jobname = 'rollup_task_usage_hourly' OR j.command ~* '\\mrollup_task_usage_hourly\\s*\\(')
        ORDER BY j.active DESC, j.jobid";
    const LAST_RUN: &str = "
        (SELECT pg_catalog.concat_ws(', ', d.status, pg_catalog.to_char(coalesce(d.end_time, d.start_time), 'YYYY-MM-DD HH24:MI:SS'),
                          CASE WHEN d.status = 'failed' THEN d.return_message END)
         FROM cron.job_run_details d WHERE d.jobid = j.jobid ORDER BY d.runid DESC LIMIT 1)";
    let row = connection.query_one(CRON, &[]).await?;
    let (here, home): (bool, Option<String>) = (row.get("here"), row.get("home"));
    let (jobs, runs, all): (bool, bool, bool) = (row.get("jobs"), row.get("runs"), row.get("all"));
    let cron = match home {
        _ if here => Cron::Here,
        Some(home) => Cron::In(home),
        None => Cron::Nowhere,
    };
    if !here || !jobs {
        return Ok((cron, Vec::new(), here));
    }
    let sql = JOBS.replace("{last_run}", if runs { LAST_RUN } else { "NULL::text" });
    // By a policy of pg_cron, a role sees only its own jobs: row_security on makes that a filter, not an error.
    let transaction = connection.begin().await?;
    transaction.batch("SET LOCAL row_security TO on").await?;
    let rows = transaction.query(&sql, &[]).await?;
    transaction.rollback().await;
    let jobs = rows.iter().map(CronJob::from_row).collect::<Result<_, _>>()?;
    Ok((cron, jobs, !all))
}

impl Standing {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What the server says; [`RollupError::NoPipeline`] and [`RollupError::NoState`] if there is no rollup.
    pub async fn read(connection: &Connection) -> Result<Self, RollupError> {
        let Some(scheduling) = Scheduling::read(connection).await? else { return Err(RollupError::NoPipeline) };
        let Some(pipeline) = Pipeline::read(connection).await? else { return Err(RollupError::NoPipeline) };
        let sql = include_str!("standing.sql").replace("{queue}", queue(connection).await?);
        let Some(row) = connection.query_opt(&sql, &[]).await? else { return Err(RollupError::NoState) };
        let (too_large, kept_out) = too_large::kept_out(connection).await?;
        let held_back_by = row.get::<_, Option<i32>>("pid").map(|pid| Holder {
            pid,
            application: row.get("application_name"),
            client: row.get("client"),
            since: row.get("xact_start"),
        });
        Ok(Self {
            watermark: row.try_get("watermark")?,
            lag: row.try_get("lag")?,
            queued: row.try_get("queued")?,
            queued_since: row.try_get("queued_since")?,
            last_run_started_at: row.try_get("last_run_started_at")?,
            last_run_finished_at: row.try_get("last_run_finished_at")?,
            last_run_rows: row.try_get("last_run_rows")?,
            last_error: row.try_get("last_error")?,
            held_back_by,
            too_large,
            kept_out,
            pipeline,
            scheduling,
        })
    }
}
