//! A small world that sequences of writes are played in.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use migrate::CancellationToken;
use migrate::db::{Connection, Connector, Database, Error, Waiting};
use migrate::usage::{self, CompareError, CompareHost, Difference, Scope, SurveyError, TaskUsage, Tokens};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::harness::{Dice, TestDatabase};

const PIPELINE: &str = include_str!("../../../migrations/platform/V102__task_usage_hourly_pipeline.sql");

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
        task_usage_hourly_dirty, task_usage_hourly_invalidation;
    SET session_replication_role TO DEFAULT;
    UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'";

/// Every bucket that differs, in words.
const DIFFERENCES: &str = "
    WITH raw AS (
        SELECT date_trunc('hour', u.created_at, 'UTC'), a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
               u.provider, u.model, sum(u.input_tokens)::bigint, sum(u.output_tokens)::bigint,
               sum(u.cache_read_tokens)::bigint, sum(u.cache_write_tokens)::bigint,
               count(DISTINCT u.task_id), count(*)
        FROM task_usage u
        JOIN agent_task_queue t ON t.id = u.task_id
        JOIN agent a ON a.id = t.agent_id
        LEFT JOIN issue i ON i.id = t.issue_id
        WHERE t.runtime_id IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ),
    hourly AS (
        SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model, input_tokens,
               output_tokens, cache_read_tokens, cache_write_tokens, task_count, event_count
        FROM task_usage_hourly
    )
    SELECT string_agg(d.what, E'\\n') FROM (
        SELECT 'missing ' || r::text AS what FROM (TABLE raw EXCEPT TABLE hourly) r
        UNION ALL
        SELECT 'extra ' || r::text FROM (TABLE hourly EXCEPT TABLE raw) r
    ) d";

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
    _database: TestDatabase,
}

impl World {
    /// With the pipeline changed: each text there is, and what stands there instead.
    pub async fn new(database: TestDatabase, changes: &[(&str, &str)]) -> Self {
        let mut pipeline = PIPELINE.to_owned();
        for (there, instead) in SHORTER.iter().chain(changes) {
            assert!(pipeline.contains(there), "the pipeline does not say {there:?}");
            pipeline = pipeline.replace(there, instead);
        }
        database.batch(&format!("BEGIN; {pipeline} COMMIT;")).await;
        // Sessions that stand in each other's way take turns by giving up.
        let url = format!("{}?options=-c%20lock_timeout%3D15ms%20-c%20deadlock_timeout%3D5ms", database.url);
        let connector = Connector::new(Database::from_url(&url).unwrap(), CancellationToken::new());
        let mut sessions = Vec::new();
        for _ in 0..=WRITERS {
            let connection = connector.connect("exactness").await.unwrap();
            sessions.push(Session { connection, open: false });
        }
        Self { connector, sessions, dice: Dice::new(1), story: String::new(), _database: database }
    }

    /// Plays the sequence of this seed. If it leaves the rollup wrong, what happened.
    pub async fn play(&mut self, seed: u64) -> Result<(), String> {
        self.dice = Dice::new(seed);
        self.story = String::new();
        self.begin_anew().await;
        for _ in 0..8 + self.dice.below(25) {
            self.step().await?;
        }
        if self.dice.below(3) == 0 {
            self.compare_while_it_lasts().await?;
        }
        for session in 0..self.sessions.len() {
            let end = if self.dice.below(4) == 0 { "ROLLBACK" } else { "COMMIT" };
            self.end(session, end).await;
        }
        self.roll_up_to_the_end().await?;
        let row = self.roller().query_one(DIFFERENCES, &[]).await.unwrap();
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
        self.roller().batch(RESET).await.unwrap();
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
        match self.dice.below(20) {
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
        if outcome.is_err() && self.sessions[session].open {
            self.sessions[session].connection.batch("ROLLBACK").await.unwrap();
            self.sessions[session].open = false;
        }
    }

    async fn typed_upsert(&mut self, session: usize) {
        let usage = TaskUsage {
            task_id: Uuid::nil(),
            provider: "codex".to_owned(),
            model: (*self.dice.one_of(&MODELS)).to_owned(),
            tokens: Tokens { input: self.number(), output: self.number(), cache_read: 1, cache_write: 2 },
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
            Err(error) if is_in_the_way(&error) => {
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
                if let Err(error) = outcome
                    && session == WRITERS
                    && !is_in_the_way(&error)
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
        struct Host(std::sync::Mutex<Vec<Difference>>);
        #[async_trait]
        impl CompareHost for Host {
            fn progress(&self, _: u64, _: u64, _: u64) {}
            fn difference(&self, difference: &Difference) {
                self.0.lock().unwrap().push(difference.clone());
            }
            fn waiting(&self, _: Waiting) {}
        }
        let host = Host(std::sync::Mutex::default());
        let found = match usage::compare(&self.connector, Scope::default(), &host).await {
            Err(CompareError::Database(error) | CompareError::Survey(SurveyError::Database(error)))
                if is_in_the_way(&error) =>
            {
                return Ok(());
            }
            found => found.map_err(|error| self.fail(&error.to_string()))?,
        };
        if found.wrong() == 0 {
            return Ok(());
        }
        let wrong: Vec<_> = host.0.lock().unwrap().iter().filter(|difference| !difference.waiting).cloned().collect();
        Err(self.fail(&format!("not known to be waiting: {wrong:#?}")))
    }

    /// Either one window that reaches past the last write, or ticks until the watermark has passed it.
    async fn roll_up_to_the_end(&mut self) -> Result<(), String> {
        const WINDOW: &str = "
            SELECT rollup_task_usage_hourly_window(watermark_at, clock_timestamp() + interval '1 second')
            FROM task_usage_hourly_rollup_state";
        const PASSED: &str = "SELECT watermark_at >= $1::text::timestamptz FROM task_usage_hourly_rollup_state";
        let by_window = self.dice.below(2) == 0;
        let roller = self.roller();
        if by_window {
            return roller.batch(WINDOW).await.map_err(|error| self.fail(&error.to_string()));
        }
        let end: String = roller.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
        tokio::time::sleep(A_WHILE).await;
        for _ in 0..60 {
            if let Err(error) = roller.batch("SELECT rollup_task_usage_hourly()").await {
                return Err(self.fail(&error.to_string()));
            }
            if roller.query_one(PASSED, &[&end]).await.unwrap().get(0) {
                return Ok(());
            }
        }
        Err(self.fail("60 ticks did not reach the end"))
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

const MODELS: [&str; 3] = ["small", "large", "huge"];
const PROVIDERS: [&str; 2] = ["claude", "codex"];

/// The writes.
impl World {
    fn id(&mut self) -> Uuid {
        Uuid::from_u128((u128::from(self.dice.next()) << 64) | u128::from(self.dice.next()))
    }

    fn number(&mut self) -> i64 {
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
                "INSERT INTO task_usage (id, task_id, provider, model, input_tokens, output_tokens, created_at, updated_at)
                 VALUES ('{id}', {}, '{}', '{}', {}, {}, {}, {})
                 ON CONFLICT (task_id, provider, model) DO UPDATE SET
                     input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, updated_at = now()",
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
            28 if self.dice.below(3) == 0 => "TRUNCATE task_usage".to_owned(),
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
                format!("DELETE FROM {table} WHERE id = {}", self.one(table))
            }
        }
    }

    fn change_of_usage(&mut self) -> String {
        let which = match self.dice.below(4) {
            0 => format!("model = '{}'", self.dice.one_of(&MODELS)),
            _ => format!("id = {}", self.one("task_usage")),
        };
        let mut changes = vec![match self.dice.below(8) {
            0..3 => format!("input_tokens = {}", self.number()),
            3 => format!("created_at = {}", self.time()),
            4 => format!("provider = '{}'", self.dice.one_of(&PROVIDERS)),
            5 => format!("model = '{}'", self.dice.one_of(&MODELS)),
            6 => format!("task_id = {}", self.one("agent_task_queue")),
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
            ("agent", 0) => format!("runtime_id = {}", self.one("agent_runtime")),
            ("agent", _) => format!("workspace_id = {}", self.one("workspace")),
            ("issue", 0) => format!("workspace_id = {}", self.one("workspace")),
            ("issue", _) => format!("project_id = {}", self.one_or_none("project")),
            (_, 0) => format!("agent_id = {}", self.one("agent")),
            (_, 1) => format!("runtime_id = {}", self.one_or_none("agent_runtime")),
            _ => format!("issue_id = {}", self.one_or_none("issue")),
        };
        format!("UPDATE {table} SET {change} WHERE id = {}", self.one(table))
    }
}
