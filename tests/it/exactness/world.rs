//! A small world that sequences of writes are played in.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use migrate::CancellationToken;
use migrate::db::{Connection, Connector, Database, Error, Observer};
use migrate::engine::HookContext;
use migrate::platform::usage::{
    self, CompareEvent, Difference, Kind, RollupError, Scope, TaskUsage, Tokens, WalkOptions, WalkScope,
};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::harness::{Clock, Dice, TestDatabase, release};

const PIPELINE: &str = include_str!("../../../migrations/platform/R__usage_pipeline.sql");

/// The tick's distance from the clock, and the age from which a transaction's writes are reported, cut down alike.
const SHORTER: [(&str, &str); 2] =
    [("interval '5 minutes'", "interval '20 milliseconds'"), ("interval '1 minute'", "interval '4 milliseconds'")];

/// Longer than both of them.
const A_WHILE: Duration = Duration::from_millis(25);

/// Sessions of the application.
const WRITERS: usize = 3;

const RESET: &str = "
    SET session_replication_role TO replica;
    TRUNCATE workspace, project, agent_runtime, agent, issue, agent_task_queue, task_usage, task_usage_hourly,
        task_usage_hourly_dirty, task_usage_hourly_invalidation, task_usage_hourly_too_large CASCADE;
    SET session_replication_role TO DEFAULT;
    UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'";

/// Every bucket that differs, in words. Where there are no columns for cost, their names mean those of "absent".
const DIFFERENCES: &str = "
    WITH summed AS (
        SELECT date_trunc('hour', u.created_at, 'UTC'), a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
               u.provider, u.model, sum(u.input_tokens) AS s1, sum(u.output_tokens) AS s2,
               sum(u.cache_read_tokens) AS s3, sum(u.cache_write_tokens) AS s4,
               count(DISTINCT u.task_id), count(*) AS events, coalesce(sum(u.cost), 0) AS s5,
               coalesce(sum(u.input_tokens) FILTER (WHERE u.cost IS NULL), 0) AS s6,
               coalesce(sum(u.output_tokens) FILTER (WHERE u.cost IS NULL), 0) AS s7,
               coalesce(sum(u.cache_read_tokens) FILTER (WHERE u.cost IS NULL), 0) AS s8,
               coalesce(sum(u.cache_write_tokens) FILTER (WHERE u.cost IS NULL), 0) AS s9
        FROM (SELECT NULL::bigint AS cost_usd_ticks) AS absent
        CROSS JOIN LATERAL (SELECT r.*, cost_usd_ticks AS cost FROM task_usage r) u
        JOIN agent_task_queue t ON t.id = u.task_id
        JOIN agent a ON a.id = t.agent_id
        LEFT JOIN issue i ON i.id = t.issue_id
        WHERE t.runtime_id IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ),
    -- What does not fit is not to be there.
    raw AS (
        SELECT s.* FROM summed s
        WHERE greatest(s1, s2, s3, s4, s5, s6, s7, s8, s9) <= 9223372036854775807
          AND least(s1, s2, s3, s4, s5, s6, s7, s8, s9) >= -9223372036854775808
    ),
    too_large AS (
        SELECT (s.*)::text FROM summed s EXCEPT SELECT (r.*)::text FROM raw r
    ),
    hourly AS (
        SELECT h.*
        FROM (SELECT 0::bigint AS cost_usd_ticks, NULL::bigint AS uncosted_input_tokens,
                     NULL::bigint AS uncosted_output_tokens, NULL::bigint AS uncosted_cache_read_tokens,
                     NULL::bigint AS uncosted_cache_write_tokens) AS absent
        CROSS JOIN LATERAL (
            SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens,
                   output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count, cost_usd_ticks,
                   coalesce(uncosted_input_tokens, input_tokens), coalesce(uncosted_output_tokens, output_tokens),
                   coalesce(uncosted_cache_read_tokens, cache_read_tokens),
                   coalesce(uncosted_cache_write_tokens, cache_write_tokens)
            FROM task_usage_hourly
        ) h
    )
    SELECT string_agg(d.what, E'\\n') FROM (
        SELECT 'missing ' || r::text AS what FROM (TABLE raw EXCEPT TABLE hourly) r
        UNION ALL
        SELECT 'extra ' || r::text FROM (TABLE hourly EXCEPT TABLE raw) r
        UNION ALL
        SELECT format('%s buckets are too large, and %s are listed', r.n, l.n)
        FROM (SELECT count(*) AS n FROM too_large) r, (SELECT count(*) AS n FROM task_usage_hourly_too_large) l
        WHERE r.n <> l.n AND $1::boolean
    ) d";

/// How far the platform's database has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No cost yet, both daily pipelines still there.
    At102,
    /// Usage can have a cost.
    At213,
    /// Triggers with a guard, runtimes that can be let go of, the later tick.
    At272,
}

impl Stage {
    pub const ALL: [Self; 3] = [Self::At102, Self::At213, Self::At272];

    async fn database(self, server: &str) -> TestDatabase {
        let version = match self {
            Self::At102 => "102",
            Self::At213 => "213",
            Self::At272 => "272",
        };
        static DATABASES: AtomicU64 = AtomicU64::new(0);
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let database = TestDatabase::on_server(server, &format!("at_{version}_{number}")).await;
        database.program().args(["up", "--target", version]).run().expect(0);
        if self == Self::At272 {
            database.batch(release::LATER[2].1[0]).await;
        }
        database
    }

    /// What the platform's own migrator puts into force at this stage.
    fn of_the_platform(self) -> String {
        const OLDER: &str = include_str!("../fixtures/releases/v0.3.8-stuck.sql");
        let window = match self {
            Self::At102 => {
                let (_, rest) = OLDER.split_once("CREATE FUNCTION rollup_task_usage_hourly_window").expect("a window");
                let (window, _) = rest.split_once("$$;").expect("its end");
                format!("CREATE OR REPLACE FUNCTION rollup_task_usage_hourly_window{window}$$;")
            }
            Self::At213 | Self::At272 => release::LATER[0].1[1].to_owned(),
        };
        match self {
            Self::At272 => [&window, release::LATER[1].1[0], release::LATER[3].1[0]].concat(),
            _ => window,
        }
    }
}

/// One session, and whether it is in a transaction.
struct Session {
    connection: Connection,
    open: bool,
}

/// A database of its own with sessions on it.
pub struct World {
    connector: Connector,
    /// The application's sessions; behind them one that rolls up.
    sessions: Vec<Session>,
    dice: Dice,
    story: String,
    stage: Stage,
    /// What puts ours into force.
    pipeline: String,
    /// Whether it is.
    ours: bool,
    without_effect: bool,
    /// Whether some counts are so large that their sums do not fit into a bucket.
    huge: bool,
    clock: Clock,
    /// The server's processes of the sessions.
    pids: Vec<String>,
    /// By how many seconds it is off, and the most that it has been.
    off: f64,
    most: f64,
    _database: TestDatabase,
}

impl World {
    /// On a server with a clock, with the pipeline changed: each text there is, and what stands there instead.
    pub async fn new(stage: Stage, changes: &[(&str, &str)], server: &str, clock: Clock) -> Self {
        let database = stage.database(server).await;
        let mut pipeline = PIPELINE.to_owned();
        for (there, instead) in SHORTER.iter().chain(changes) {
            assert!(pipeline.contains(there), "the pipeline does not say {there:?}");
            pipeline = pipeline.replace(there, instead);
        }
        let pipeline = format!("BEGIN; {pipeline} COMMIT;");
        database.batch(&pipeline).await;
        // Sessions that stand in each other's way take turns by giving up.
        let url = format!("{}?options=-c%20lock_timeout%3D15ms%20-c%20deadlock_timeout%3D5ms", database.url);
        let connector = Connector::new(Database::from_url(&url).unwrap(), CancellationToken::new());
        let (mut sessions, mut pids) = (Vec::new(), Vec::new());
        for _ in 0..=WRITERS {
            let connection = connector.connect("exactness").await.unwrap();
            pids.push(connection.query_one("SELECT pg_backend_pid()::text", &[]).await.unwrap().get(0));
            sessions.push(Session { connection, open: false });
        }
        let (dice, story) = (Dice::new(1), String::new());
        Self {
            connector,
            sessions,
            dice,
            story,
            stage,
            pipeline,
            ours: true,
            without_effect: false,
            huge: false,
            clock,
            pids,
            off: 0.0,
            most: 0.0,
            _database: database,
        }
    }

    /// Plays the sequence of this seed. If it leaves the rollup wrong, what happened.
    pub async fn play(&mut self, seed: u64) -> Result<(), String> {
        self.dice = Dice::new(seed);
        self.story = String::new();
        self.without_effect = false;
        self.huge = self.dice.below(4) == 0;
        self.begin_anew().await;
        for _ in 0..8 + self.dice.below(25) {
            self.step().await?;
            if self.without_effect {
                return Err(self.fail("a write has had no effect"));
            }
        }
        if self.ours && self.dice.below(3) == 0 {
            self.compare_while_it_lasts().await?;
        }
        for session in 0..self.sessions.len() {
            let end = if self.dice.below(4) == 0 { "ROLLBACK" } else { "COMMIT" };
            self.end(session, end).await;
        }
        if !self.ours && self.dice.below(2) == 0 {
            self.come_back().await?;
        }
        self.roll_up_to_the_end().await?;
        let row = self.roller().query_one(DIFFERENCES, &[&self.ours]).await.unwrap();
        match row.get::<_, Option<String>>(0) {
            Some(differences) => Err(self.fail(&differences)),
            None => Ok(()),
        }
    }

    fn roller(&self) -> &Connection {
        &self.sessions[WRITERS].connection
    }

    fn fail(&self, why: &str) -> String {
        format!("{}=> {why}", self.story)
    }

    fn tell(&mut self, session: usize, what: &str, outcome: &str) {
        let who = if session == WRITERS { "rollup".to_owned() } else { format!("writer {session}") };
        let _ = writeln!(self.story, "{who}: {what}{outcome}");
    }

    async fn begin_anew(&mut self) {
        self.most = 0.0;
        self.set_clock(0.0);
        self.roller().batch(RESET).await.unwrap();
        if !self.ours {
            self.roller().batch(&self.pipeline).await.unwrap();
            self.ours = true;
        }
        let mut sql = String::new();
        for table in ["workspace", "project", "agent_runtime", "agent", "issue", "agent_task_queue", "task_usage"] {
            let rows = match table {
                "agent_task_queue" => 12,
                "task_usage" => 20,
                _ => 3,
            };
            for _ in 0..rows {
                sql += &self.insert(table);
                sql += ";\n";
            }
        }
        self.roller().batch(&sql).await.unwrap();
        // Most databases are rolled up when the sequence begins; some have never been.
        if self.dice.below(4) > 0 {
            let window = "SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 hour')";
            self.roller().batch(window).await.unwrap();
            let stamp = "UPDATE task_usage_hourly_rollup_state SET watermark_at = clock_timestamp()";
            self.roller().batch(stamp).await.unwrap();
        }
    }

    async fn step(&mut self) -> Result<(), String> {
        let session = usize::try_from(self.dice.below(WRITERS as u64)).unwrap();
        match self.dice.below(23) {
            22 => self.move_clock(),
            // The platform's own rollup is stopped by what does not fit.
            20 if !self.huge => self.give_way().await,
            21 if !self.ours => self.come_back().await?,
            0 | 1 => self.begin(session).await,
            2 | 3 => self.end(session, "COMMIT").await,
            4 => self.end(session, "ROLLBACK").await,
            5 => self.wait().await,
            6 | 7 => self.roll_up().await?,
            8 => self.all_at_once().await?,
            9 => self.typed_upsert(session).await,
            11 => {
                // Written, and not committed before ticks have had their chance to pass it.
                self.begin(session).await;
                self.typed_upsert(session).await;
                self.wait().await;
                self.roll_up().await?;
            }
            10 => {
                let write = format!("SAVEPOINT s; {}; ROLLBACK TO s", self.write());
                if self.sessions[session].open {
                    self.run(session, &write).await;
                }
            }
            _ => {
                let write = self.write();
                self.run(session, &write).await;
            }
        }
        Ok(())
    }

    async fn wait(&mut self) {
        tokio::time::sleep(A_WHILE).await;
        self.story += "a while passes\n";
    }

    fn set_clock(&mut self, off: f64) {
        self.clock.set(off);
        // A session that believes its next alarm to be due at a time by the old clock might never give up waiting for a
        // lock. An alarm puts that right.
        let woken = std::process::Command::new("kill").arg("-ALRM").args(&self.pids).status().expect("kill");
        assert!(woken.success());
        self.off = off;
        self.most = self.most.max(off);
    }

    /// The server's clock jumps. Some jumps are as short as what the rollup stays behind, some are years.
    fn move_clock(&mut self) {
        let by = *self.dice.one_of(&[0.01, 0.05, 1.0, 3600.0, 100.0 * 86_400.0, 1000.0 * 86_400.0]);
        let by = if self.dice.below(2) == 0 { by } else { -by };
        self.set_clock(self.off + by);
        let _ = writeln!(self.story, "THE CLOCK MOVES by {by} s");
    }

    async fn begin(&mut self, session: usize) {
        if !self.sessions[session].open {
            let level = ["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
            let begin = format!("BEGIN ISOLATION LEVEL {}; SELECT 1", self.dice.one_of(&level));
            self.run(session, &begin).await;
            self.sessions[session].open = true;
            if self.dice.below(3) == 0 {
                self.wait().await;
            }
        }
    }

    async fn end(&mut self, session: usize, how: &str) {
        if self.sessions[session].open {
            self.run(session, how).await;
            self.sessions[session].open = false;
        }
    }

    /// Runs a write. One that fails, because somebody else is in the way for example, takes its transaction with it.
    async fn run(&mut self, session: usize, sql: &str) {
        let outcome = self.sessions[session].connection.batch(sql).await;
        self.tell(session, sql, &said(&outcome));
        self.note_without_effect(&outcome);
        if outcome.is_err() && self.sessions[session].open {
            self.sessions[session].connection.batch("ROLLBACK").await.unwrap();
            self.sessions[session].open = false;
        }
    }

    /// A write that the server has accepted, and not carried out.
    fn note_without_effect(&mut self, outcome: &Result<(), Error>) {
        if let Err(error) = outcome
            && error.sqlstate() == Some(NO_EFFECT)
        {
            self.without_effect = true;
        }
    }

    /// Whether a rollup may fail so. What the platform's own does is its own affair.
    fn may_fail(&self, error: &Error) -> bool {
        is_in_the_way(error) || !self.ours && error.is(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    async fn typed_upsert(&mut self, session: usize) {
        let usage = TaskUsage {
            task_id: Uuid::nil(),
            provider: "codex".to_owned(),
            model: (*self.dice.one_of(&MODELS)).to_owned(),
            tokens: Tokens { input: self.number(), output: self.number(), cache_read: 1, cache_write: 2 },
            cost_usd_ticks: self.cost(),
        };
        let task = format!("SELECT {}", self.one("agent_task_queue"));
        let connection = &self.sessions[session].connection;
        let outcome = async {
            let Some(task_id) = connection.query_one(&task, &[]).await?.get(0) else { return Ok(()) };
            usage::upsert(connection, &TaskUsage { task_id, ..usage }).await
        }
        .await;
        self.tell(session, "an upsert", &said(&outcome));
        if outcome.is_err() && self.sessions[session].open {
            self.sessions[session].connection.batch("ROLLBACK").await.unwrap();
            self.sessions[session].open = false;
        }
    }

    /// The platform's own migrator comes by.
    async fn give_way(&mut self) {
        if self.sessions[WRITERS].open {
            self.end(WRITERS, "COMMIT").await;
        }
        let outcome = self.roller().batch(&format!("BEGIN; {} COMMIT;", self.stage.of_the_platform())).await;
        self.tell(WRITERS, "THE PLATFORM COMES BY", &said(&outcome));
        match outcome {
            Ok(()) => self.ours = false,
            Err(_) => self.roller().batch("ROLLBACK").await.unwrap(),
        }
    }

    /// `migrate up`: ours is put into force, and everything computed again.
    async fn come_back(&mut self) -> Result<(), String> {
        if self.sessions[WRITERS].open {
            self.end(WRITERS, "COMMIT").await;
        }
        let outcome = self.roller().batch(&self.pipeline).await;
        self.tell(WRITERS, "OURS COMES BACK", &said(&outcome));
        if let Err(error) = outcome {
            self.roller().batch("ROLLBACK").await.unwrap();
            return if is_in_the_way(&error) { Ok(()) } else { Err(self.fail(&error.to_string())) };
        }
        let options = WalkOptions { scope: WalkScope::Everything, ..WalkOptions::default() };
        let alone = HookContext::alone("walk", self.connector.clone());
        match usage::walk(self.roller(), options, &alone).await {
            Ok(_) => self.ours = true,
            // It is owed until it has been done: here, the platform's is in force as long.
            Err(RollupError::Database(error)) if is_in_the_way(&error) => self.give_way().await,
            Err(error) => return Err(self.fail(&error.to_string())),
        }
        Ok(())
    }

    /// A tick or a window, left open for a while or cancelled in some cases.
    async fn roll_up(&mut self) -> Result<(), String> {
        if self.sessions[WRITERS].open {
            let how = if self.dice.below(3) == 0 { "ROLLBACK" } else { "COMMIT" };
            self.end(WRITERS, how).await;
            return Ok(());
        }
        let call = self.rollup_call();
        if self.dice.below(4) == 0 {
            self.run(WRITERS, "BEGIN").await;
            self.sessions[WRITERS].open = true;
        } else if self.dice.below(8) == 0 {
            // One that is cancelled must leave no lock behind.
            let cancelled = format!("SET LOCAL statement_timeout TO '2ms'; {call}");
            self.run(WRITERS, &cancelled).await;
            let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
            // A time limit that is reached just as the statement ends can still hit the next one.
            let left = match self.roller().query_one(left, &[]).await {
                Err(error) if error.is(&SqlState::QUERY_CANCELED) => self.roller().query_one(left, &[]).await,
                other => other,
            };
            let left: i64 = left.unwrap().get(0);
            return if left == 0 { Ok(()) } else { Err(self.fail("a cancelled call has kept its lock")) };
        }
        let outcome = self.roller().batch(&call).await;
        self.tell(WRITERS, &call, &said(&outcome));
        match outcome {
            Err(error) if self.may_fail(&error) => {
                self.end(WRITERS, "ROLLBACK").await;
                Ok(())
            }
            Err(error) => Err(self.fail(&error.to_string())),
            Ok(()) => Ok(()),
        }
    }

    fn rollup_call(&mut self) -> String {
        let from = ["'epoch'", "now() - interval '1 hour'", "now() - interval '10 milliseconds'"];
        let to = ["now()", "clock_timestamp()", "now() + interval '1 second'", "now() - interval '1 day'"];
        match self.dice.below(8) {
            0..4 => "SELECT rollup_task_usage_hourly()".to_owned(),
            4..7 => {
                let (from, to) = (*self.dice.one_of(&from), *self.dice.one_of(&to));
                format!("SELECT rollup_task_usage_hourly_window({from}, {to})")
            }
            _ => "SELECT prune_task_usage_hourly_dirty('0 seconds')".to_owned(),
        }
    }

    /// Writers and a rollup, at the same time.
    async fn all_at_once(&mut self) -> Result<(), String> {
        if self.sessions[WRITERS].open {
            self.end(WRITERS, "COMMIT").await;
        }
        let mut together = tokio::task::JoinSet::new();
        for session in 0..=WRITERS {
            let statements = if session == WRITERS {
                vec![self.rollup_call(), self.rollup_call()]
            } else if self.sessions[session].open {
                continue;
            } else {
                vec![self.write(), self.write(), self.write(), self.write()]
            };
            let connection = self.sessions[session].connection.clone();
            together.spawn(async move {
                let mut said_so = Vec::new();
                for sql in statements {
                    let outcome = connection.batch(&sql).await;
                    said_so.push((sql, outcome));
                }
                (session, said_so)
            });
        }
        self.story += "at the same time:\n";
        let mut broken = None;
        while let Some(ended) = together.join_next().await {
            let (session, said_so) = ended.unwrap();
            for (sql, outcome) in said_so {
                self.tell(session, &sql, &said(&outcome));
                self.note_without_effect(&outcome);
                if let Err(error) = outcome
                    && session == WRITERS
                    && !self.may_fail(&error)
                {
                    broken = Some(error.to_string());
                }
            }
        }
        self.story += "until here\n";
        broken.map_or(Ok(()), |why| Err(self.fail(&why)))
    }

    /// In the middle of everything, what differs must be known to be waiting.
    async fn compare_while_it_lasts(&mut self) -> Result<(), String> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let observer = Observer::new(move |event| {
            if let CompareEvent::Difference(difference) = event {
                listener.lock().unwrap().push(*difference);
            }
        });
        let found = match usage::compare(&self.connector, Scope::default(), &observer).await {
            Err(RollupError::Database(error)) if is_in_the_way(&error) => {
                return Ok(());
            }
            found => found.map_err(|error| self.fail(&error.to_string()))?,
        };
        // What does not fit is wrong until it is corrected.
        if found.wrong() == found.too_large {
            return Ok(());
        }
        let fault = |difference: &&Difference| !difference.waiting && difference.kind != Kind::TooLarge;
        let wrong: Vec<_> = told.lock().unwrap().iter().filter(fault).cloned().collect();
        Err(self.fail(&format!("not known to be waiting: {wrong:#?}")))
    }

    /// Either one window that reaches past the last write, once the clock has caught up with every time it ever showed, or
    /// ticks until the watermark has passed it, whatever the clock says.
    async fn roll_up_to_the_end(&mut self) -> Result<(), String> {
        const WINDOW: &str = "
            SELECT rollup_task_usage_hourly_window(watermark_at, clock_timestamp() + interval '1 second')
            FROM task_usage_hourly_rollup_state";
        // What was dated by a clock that was a moment ahead is waited for.
        const END: &str = "
            SELECT greatest(max(e.at), clock_timestamp())::text
            FROM (
                SELECT updated_at FROM task_usage
                UNION ALL SELECT enqueued_at FROM task_usage_hourly_invalidation
                UNION ALL SELECT enqueued_at FROM task_usage_hourly_dirty
            ) e (at)
            WHERE e.at < clock_timestamp() + interval '2 seconds'";
        const PASSED: &str = "
            SELECT watermark_at >= $1::text::timestamptz AND watermark_at <= clock_timestamp()
            FROM task_usage_hourly_rollup_state";
        // The platform's must act on what is reported; what its watermark has passed too early is its own affair.
        const ITS_OWN: &str =
            "SELECT rollup_task_usage_hourly_window('epoch', clock_timestamp() + interval '1 second')";
        const PATIENCE: Duration = Duration::from_secs(20);
        let by_window = self.dice.below(2) == 0;
        if by_window || !self.ours {
            if self.off < self.most {
                self.set_clock(self.most);
                self.story += "the clock catches up\n";
            }
            tokio::time::sleep(A_WHILE).await;
            let window = if self.ours { WINDOW } else { ITS_OWN };
            return self.roller().batch(window).await.map_err(|error| self.fail(&error.to_string()));
        }
        if self.dice.below(3) == 0 {
            self.move_clock();
        }
        let roller = self.roller();
        let end: String = roller.query_one(END, &[]).await.unwrap().get(0);
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Err(error) = roller.batch("SELECT rollup_task_usage_hourly()").await {
                return Err(self.fail(&error.to_string()));
            }
            if roller.query_one(PASSED, &[&end]).await.unwrap().get(0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(self.fail("ticks did not reach the end"))
    }
}

/// Whether a rollup gave up because somebody had a lock that it needs, after a TRUNCATE for example. Nothing else may
/// keep it from its work, a deadlock least of all.
fn is_in_the_way(error: &Error) -> bool {
    error.sqlstate() == Some("55P03")
}

/// How a statement went.
fn said(outcome: &Result<(), Error>) -> String {
    outcome.as_ref().err().map(|error| format!("\n    failed: {error}")).unwrap_or_default()
}

/// What a write raises that has had no effect.
const NO_EFFECT: &str = "MG001";

const MODELS: [&str; 3] = ["small", "large", "huge"];
const PROVIDERS: [&str; 2] = ["claude", "codex"];

/// The writes.
impl World {
    fn id(&mut self) -> Uuid {
        Uuid::from_u128((u128::from(self.dice.next()) << 64) | u128::from(self.dice.next()))
    }

    /// None where there is no column for it.
    fn cost(&mut self) -> Option<i64> {
        (self.stage != Stage::At102 && self.dice.below(2) == 0).then(|| self.number())
    }

    fn number(&mut self) -> i64 {
        if self.huge && self.dice.below(8) == 0 {
            return *self.dice.one_of(&[i64::MAX, i64::MAX / 2 + 1, i64::MAX - 1000, i64::MIN, i64::MIN / 2 - 1]);
        }
        i64::try_from(self.dice.below(1000)).unwrap()
    }

    /// Any row of a table.
    fn one(&mut self, table: &str) -> String {
        let at = self.dice.below(1000);
        format!(
            "(SELECT id FROM {table} ORDER BY id OFFSET {at} % greatest((SELECT count(*) FROM {table}), 1) LIMIT 1)"
        )
    }

    fn one_or_none(&mut self, table: &str) -> String {
        if self.dice.below(4) == 0 { "NULL".to_owned() } else { self.one(table) }
    }

    /// A time within a few hours, of which some are long ago.
    fn time(&mut self) -> String {
        let days = *self.dice.one_of(&[0, 0, 0, 30, 400]);
        let minutes = self.dice.below(200);
        format!("now() - interval '{days} days {minutes} minutes'")
    }

    fn updated_at(&mut self) -> String {
        match self.dice.below(6) {
            0 => "NULL".to_owned(),
            1 => self.time(),
            2 => "now() + interval '1 day'".to_owned(),
            _ => "now()".to_owned(),
        }
    }

    fn insert(&mut self, table: &str) -> String {
        let id = self.id();
        let workspace = self.one("workspace");
        match table {
            "workspace" => format!("INSERT INTO workspace (id, name, slug) VALUES ('{id}', 'w', '{id}')"),
            "project" => format!("INSERT INTO project (id, workspace_id, title) VALUES ('{id}', {workspace}, 'p')"),
            "agent_runtime" => format!(
                "INSERT INTO agent_runtime (id, workspace_id, daemon_id, name, runtime_mode, provider)
                 VALUES ('{id}', {workspace}, '{id}', 'r', 'local', 'codex')"
            ),
            "agent" => format!(
                "INSERT INTO agent (id, workspace_id, name, runtime_mode, runtime_id)
                 VALUES ('{id}', {workspace}, '{id}', 'local', {})",
                self.one("agent_runtime")
            ),
            "issue" => format!(
                "INSERT INTO issue (id, workspace_id, project_id, title, creator_type, creator_id)
                 VALUES ('{id}', {workspace}, {}, 'i', 'member', '{id}')",
                self.one_or_none("project")
            ),
            "agent_task_queue" => format!(
                "INSERT INTO agent_task_queue (id, agent_id, runtime_id, issue_id) VALUES ('{id}', {}, {}, {})",
                self.one("agent"),
                self.one_or_none("agent_runtime"),
                self.one_or_none("issue")
            ),
            _ => format!(
                "INSERT INTO task_usage (id, {} task_id, provider, model, input_tokens, output_tokens, created_at, updated_at)
                 VALUES ('{id}', {} {}, '{}', '{}', {}, {}, {}, {})
                 ON CONFLICT (task_id, provider, model) DO UPDATE SET
                     input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, updated_at = now()",
                if self.stage == Stage::At102 { "" } else { "cost_usd_ticks," },
                match (self.stage, self.cost()) {
                    (Stage::At102, _) => String::new(),
                    (_, None) => "NULL,".to_owned(),
                    (_, Some(cost)) => format!("{cost},"),
                },
                self.one("agent_task_queue"),
                self.dice.one_of(&PROVIDERS),
                self.dice.one_of(&MODELS),
                self.number(),
                self.number(),
                self.time(),
                self.updated_at()
            ),
        }
    }

    fn write(&mut self) -> String {
        match self.dice.below(32) {
            0..7 => self.insert("task_usage"),
            7..9 => self.insert("agent_task_queue"),
            9..17 => self.change_of_usage(),
            17..26 => self.change_of_owner(),
            26 => {
                let table = *self.dice.one_of(&["workspace", "project", "agent_runtime", "agent", "issue"]);
                self.insert(table)
            }
            27 => "INSERT INTO task_usage_hourly_dirty
                       (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
                   SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model
                   FROM task_usage_hourly LIMIT 3
                   ON CONFLICT ON CONSTRAINT uq_task_usage_hourly_dirty_key DO UPDATE SET enqueued_at = now()"
                .to_owned(),
            28 if self.dice.below(3) == 0 => "TRUNCATE task_usage CASCADE".to_owned(),
            28 if self.stage != Stage::At102 && self.dice.below(2) == 0 => self.teardown(),
            28 if self.dice.below(2) == 0 => {
                let workspace = self.one("workspace");
                // Its agents may be at work on the runtimes of another one, which then cannot go.
                format!(
                    "DELETE FROM agent WHERE workspace_id = {workspace}; DELETE FROM workspace WHERE id = {workspace}"
                )
            }
            _ => {
                let table = *self.dice.one_of(&[
                    "task_usage",
                    "task_usage",
                    "agent_task_queue",
                    "issue",
                    "project",
                    "agent",
                    "agent_runtime",
                    "workspace",
                ]);
                let unbind = match (table, self.stage) {
                    ("agent_runtime", Stage::At272) => {
                        "UPDATE agent_task_queue SET runtime_id = NULL WHERE runtime_id = v_id;
                         UPDATE agent SET runtime_id = NULL WHERE runtime_id = v_id;"
                    }
                    _ => "",
                };
                format!(
                    "DO $$
                     DECLARE v_id uuid := {};
                     BEGIN
                         {unbind}
                         DELETE FROM {table} WHERE id = v_id;
                         IF EXISTS (SELECT FROM {table} WHERE id = v_id) THEN
                             RAISE EXCEPTION 'a delete from {table} deletes nothing' USING ERRCODE = '{NO_EFFECT}';
                         END IF;
                     END
                     $$",
                    self.one(table)
                )
            }
        }
    }

    /// A workspace goes as the platform's later versions do it.
    fn teardown(&mut self) -> String {
        format!(
            "DO $$
             DECLARE v_id uuid := {};
             BEGIN
                 PERFORM pg_advisory_xact_lock(4246);
                 PERFORM set_config('multica.workspace_teardown', 'on', true);
                 DELETE FROM task_usage u USING agent_task_queue t, agent a
                 WHERE t.id = u.task_id AND a.id = t.agent_id AND a.workspace_id = v_id;
                 DELETE FROM task_usage_hourly WHERE workspace_id = v_id;
                 DELETE FROM agent WHERE workspace_id = v_id;
                 DELETE FROM workspace WHERE id = v_id;
                 PERFORM set_config('multica.workspace_teardown', 'off', true);
             END
             $$",
            self.one("workspace")
        )
    }

    fn change_of_usage(&mut self) -> String {
        let which = match self.dice.below(4) {
            0 => format!("model = '{}'", self.dice.one_of(&MODELS)),
            _ => format!("id = {}", self.one("task_usage")),
        };
        let mut changes = vec![match self.dice.below(9) {
            0..3 => format!("input_tokens = {}", self.number()),
            3 => format!("created_at = {}", self.time()),
            4 => format!("provider = '{}'", self.dice.one_of(&PROVIDERS)),
            5 => format!("model = '{}'", self.dice.one_of(&MODELS)),
            6 => format!("task_id = {}", self.one("agent_task_queue")),
            7 if self.stage != Stage::At102 => match self.cost() {
                None => "cost_usd_ticks = NULL".to_owned(),
                Some(cost) => format!("cost_usd_ticks = {cost}"),
            },
            _ => "cache_read_tokens = cache_read_tokens + 1".to_owned(),
        }];
        if self.dice.below(2) == 0 {
            changes.push(format!("updated_at = {}", self.updated_at()));
        }
        format!("UPDATE task_usage SET {} WHERE {which}", changes.join(", "))
    }

    fn change_of_owner(&mut self) -> String {
        let table =
            *self.dice.one_of(&["agent_task_queue", "agent_task_queue", "agent_task_queue", "issue", "issue", "agent"]);
        let change = match (table, self.dice.below(3)) {
            ("agent", 0) if self.stage == Stage::At272 => {
                format!("runtime_id = {}", self.one_or_none("agent_runtime"))
            }
            ("agent", 0) => format!("runtime_id = {}", self.one("agent_runtime")),
            ("agent", _) => format!("workspace_id = {}", self.one("workspace")),
            ("issue", 0) => format!("workspace_id = {}", self.one("workspace")),
            ("issue", _) => format!("project_id = {}", self.one_or_none("project")),
            (_, 0) => format!("agent_id = {}", self.one("agent")),
            (_, 1) => format!("runtime_id = {}", self.one_or_none("agent_runtime")),
            _ => format!("issue_id = {}", self.one_or_none("issue")),
        };
        let column = change.split(' ').next().unwrap_or_default();
        // A statement that has no effect must not pass for one that had.
        format!(
            "DO $$
             DECLARE v_id uuid := {}; v_new {table}.{column}%TYPE := {};
             BEGIN
                 UPDATE {table} SET {column} = v_new WHERE id = v_id;
                 IF EXISTS (SELECT FROM {table} WHERE id = v_id AND {column} IS DISTINCT FROM v_new) THEN
                     RAISE EXCEPTION 'an update of {table} has no effect' USING ERRCODE = '{NO_EFFECT}';
                 END IF;
             END
             $$",
            self.one(table),
            change.split_once(" = ").map(|(_, value)| value).unwrap_or_default()
        )
    }
}
