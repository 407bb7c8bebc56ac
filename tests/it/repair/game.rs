//! Repairs and undos in random order, with journals that are lost, emptied, truncated and halved, clocks that jump, runs that
//! are killed, and later cutoffs: no token is taken twice, and none is given back twice.
//!
//! `script/repairs` plays thousands of rounds. A failing one prints its seed, and `REPAIR_ROUND` repeats it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migrate::CancellationToken;
use migrate::cli::Content as _;
use migrate::db::Database;
use migrate::platform::{PLATFORM, Platform};
use migrate::repair::{Executed, Pacing, RepairError, Repairer};
use serde_json::json;
use tokio_postgres::Client;

use crate::harness::{Clock, Dice, TestDatabase, seed, server_with_a_clock};

/// Rounds of every run of the tests.
const ROUNDS: u64 = 40;

const WORKERS: usize = 2;

/// Rows of the past, of which some are wrong. `truth` has what each says if it was not repaired, and if it was.
const RESET: &str = "
    DROP TABLE IF EXISTS migrate.repair_run, migrate.repair_change;
    COMMENT ON TABLE task_usage IS NULL;
    SET session_replication_role TO replica;
    TRUNCATE task_usage, task_usage_hourly, task_usage_hourly_dirty, task_usage_hourly_invalidation, truth CASCADE;
    SET session_replication_role TO DEFAULT;
    UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '30 minutes';
    INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, created_at, updated_at)
    SELECT t.id, CASE WHEN n % 7 = 0 THEN 'claude' ELSE 'codex' END, 'model ' || n, 1000 + 37 * n, 100 + n,
           now() - n * interval '3 hours', CASE WHEN n % 5 > 0 THEN now() - n * interval '2 hours' END
    FROM generate_series(1, 30) n
    CROSS JOIN LATERAL (SELECT id FROM agent_task_queue ORDER BY id OFFSET n % 10 LIMIT 1) t;
    INSERT INTO truth
    SELECT id, input_tokens, input_tokens - CASE provider WHEN 'codex' THEN cache_read_tokens ELSE 0 END FROM task_usage";

/// What the application does; `{n}` is random.
const WRITES: [&str; 6] = [
    // The old program reports a new task, wrongly.
    "WITH written AS (
         INSERT INTO task_usage (task_id, provider, model, input_tokens, cache_read_tokens, updated_at)
         SELECT id, 'codex', 'new {n}', 1000 + {n}, 100 + {n} % 200, now() FROM agent_task_queue ORDER BY md5(id::text || {n}) LIMIT 3
         RETURNING *
     )
     INSERT INTO truth SELECT id, input_tokens, input_tokens - cache_read_tokens FROM written",
    // It reports known ones again.
    "WITH written AS (
         UPDATE task_usage SET input_tokens = 1500 + {n}, cache_read_tokens = 100 + {n} % 200, updated_at = now()
         WHERE provider = 'codex' AND id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 4)
         RETURNING *
     )
     UPDATE truth t SET wrong = w.input_tokens, fixed = w.input_tokens - w.cache_read_tokens FROM written w WHERE w.id = t.id",
    // The fixed program does.
    "WITH written AS (
         UPDATE task_usage SET input_tokens = 700 + {n}, cache_read_tokens = 0, updated_at = now()
         WHERE id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 3)
         RETURNING *
     )
     UPDATE truth t SET wrong = w.input_tokens, fixed = w.input_tokens FROM written w WHERE w.id = t.id",
    // Something else changes, and updated_at stays.
    "UPDATE task_usage SET output_tokens = output_tokens + 1 WHERE id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 5)",
    // Only the time changes.
    "UPDATE task_usage SET updated_at = now() WHERE id IN (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 3)",
    "DELETE FROM task_usage WHERE id = (SELECT id FROM truth ORDER BY md5(id::text || {n}) LIMIT 1)",
];

/// What happens to what we remember.
const LOSSES: [&str; 6] = [
    "DROP TABLE IF EXISTS migrate.repair_change",
    "DO $$ BEGIN IF to_regclass('migrate.repair_change') IS NOT NULL THEN TRUNCATE migrate.repair_change; END IF; END $$",
    "DO $$ BEGIN IF to_regclass('migrate.repair_change') IS NOT NULL THEN
         DELETE FROM migrate.repair_change WHERE n % 2 = 0; END IF; END $$",
    "DO $$ BEGIN IF to_regclass('migrate.repair_change') IS NOT NULL THEN
         DELETE FROM migrate.repair_change WHERE applied_at IS NOT NULL; END IF; END $$",
    "DO $$ BEGIN IF to_regclass('migrate.repair_change') IS NOT NULL THEN
         DELETE FROM migrate.repair_change WHERE run_id = (SELECT max(id) FROM migrate.repair_run); END IF; END $$",
    "DO $$ BEGIN IF to_regclass('migrate.repair_change') IS NOT NULL THEN
         DELETE FROM migrate.repair_change WHERE run_id = (SELECT min(id) FROM migrate.repair_run); END IF; END $$",
];

/// That there was a run is known from two places. Whoever loses both knows nothing any more, so a round loses one of them.
const LOSSES_OF_RUNS: [&str; 2] = [
    "DROP TABLE IF EXISTS migrate.repair_change, migrate.repair_run",
    "COMMENT ON TABLE task_usage IS 'Somebody else''s words'",
];

/// Rows that say neither what they said before any repair, nor what they should.
const BROKEN: &str = "
    SELECT string_agg(format('%s says %s, not %s or %s', u.model, u.input_tokens, t.wrong, t.fixed), '; ')
    FROM task_usage u JOIN truth t USING (id)
    WHERE u.input_tokens NOT IN (t.wrong, t.fixed)";

/// Rows from before a cutoff that were not repaired.
const LEFT: &str = "
    SELECT count(*) FROM task_usage u JOIN truth t USING (id)
    WHERE u.input_tokens <> t.fixed AND coalesce(u.updated_at, u.created_at) < $1::text::timestamptz";

const TIME: &str = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

struct Game {
    database: TestDatabase,
    session: Client,
    clock: Clock,
    dice: Dice,
    story: String,
    off: f64,
    most: f64,
    /// Times that were noted, for cutoffs.
    times: Vec<String>,
    /// Something of what a repair remembers was taken away.
    lost: bool,
    /// Which of the two places that know of runs this round may lose.
    loses: usize,
}

impl Game {
    async fn new(number: usize) -> Self {
        let (url, clock) = server_with_a_clock(&format!("repairs-{number}"));
        let database = TestDatabase::on_server(&url, "repairs").await;
        database.program().args(["up"]).run().expect(0);
        database
            .batch(
                "INSERT INTO workspace (name, slug) VALUES ('w', 'w');
                 INSERT INTO agent_runtime (workspace_id, daemon_id, name, runtime_mode, provider)
                 SELECT id, 'd', 'r', 'local', 'codex' FROM workspace;
                 INSERT INTO agent (workspace_id, name, runtime_mode, runtime_id)
                 SELECT workspace_id, 'a', 'local', id FROM agent_runtime;
                 INSERT INTO agent_task_queue (agent_id, runtime_id)
                 SELECT a.id, a.runtime_id FROM agent a, generate_series(1, 10);
                 CREATE TABLE truth (id uuid PRIMARY KEY, wrong bigint, fixed bigint)",
            )
            .await;
        let session = database.session().await;
        let (dice, story) = (Dice::new(1), String::new());
        Self { database, session, clock, dice, story, off: 0.0, most: 0.0, times: Vec::new(), lost: false, loses: 0 }
    }

    async fn play(&mut self, seed: u64) -> Result<(), String> {
        self.dice = Dice::new(seed);
        self.story = String::new();
        (self.most, self.lost) = (0.0, false);
        self.loses = usize::from(self.dice.below(2) == 0);
        self.set_clock(0.0);
        self.session.batch_execute(RESET).await.unwrap();
        self.times = vec![self.time().await];
        for _ in 0..5 + self.dice.below(9) {
            match self.dice.below(14) {
                0..5 => self.repair().await?,
                5..7 => self.undo().await?,
                7..9 => self.lose().await,
                9..11 => self.write().await,
                11 => self.close().await?,
                12 => self.move_clock(),
                _ => {
                    let time = self.time().await;
                    self.times.push(time);
                }
            }
            self.check().await?;
        }
        self.come_to_an_end().await
    }

    async fn time(&self) -> String {
        self.session.query_one(TIME, &[]).await.unwrap().get(0)
    }

    fn set_clock(&mut self, off: f64) {
        self.clock.set(off);
        (self.off, self.most) = (off, self.most.max(off));
    }

    fn move_clock(&mut self) {
        let by = *self.dice.one_of(&[0.05, 1.0, 3600.0, 86_400.0]);
        let by = if self.dice.below(2) == 0 { by } else { -by };
        self.set_clock(self.off + by);
        let _ = writeln!(self.story, "THE CLOCK MOVES by {by} s");
    }

    async fn write(&mut self) {
        let n = self.dice.below(100_000);
        let which = usize::try_from(self.dice.below(WRITES.len() as u64)).unwrap();
        self.session.batch_execute(&WRITES[which].replace("{n}", &n.to_string())).await.unwrap();
        let _ = writeln!(self.story, "write {which} with {n}");
    }

    async fn lose(&mut self) {
        let loss = match self.dice.below(4) {
            0 => LOSSES_OF_RUNS[self.loses],
            _ => *self.dice.one_of(&LOSSES),
        };
        self.session.batch_execute(loss).await.unwrap();
        self.lost = true;
        let _ = writeln!(self.story, "LOST: {loss}");
    }

    async fn check(&mut self) -> Result<(), String> {
        match self.session.query_one(BROKEN, &[]).await.unwrap().get::<_, Option<String>>(0) {
            Some(broken) => Err(self.fail(&broken)),
            None => Ok(()),
        }
    }

    fn fail(&self, why: &str) -> String {
        format!("{}=> {why}", self.story)
    }

    async fn runs(&self) -> Vec<(i64, String)> {
        let there = "SELECT to_regclass('migrate.repair_run') IS NOT NULL";
        if !self.session.query_one(there, &[]).await.unwrap().get::<_, bool>(0) {
            return Vec::new();
        }
        let rows = self.session.query("SELECT id, state FROM migrate.repair_run ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn unfinished(&self) -> Option<i64> {
        let runs = self.runs().await;
        runs.into_iter()
            .rev()
            .find(|(_, state)| !["done", "undone", "closed"].contains(&state.as_str()))
            .map(|run| run.0)
    }

    async fn pacing(&mut self) -> Pacing {
        let beside = self.unfinished().await.filter(|_| self.dice.below(3) == 0);
        Pacing {
            batch_size: u32::try_from(1 + self.dice.below(12)).unwrap(),
            lock_wait: Duration::from_secs(5),
            beside,
            ..Pacing::default()
        }
    }

    async fn repair(&mut self) -> Result<(), String> {
        let now = self.time().await;
        self.times.push(now);
        let cutoff = self.dice.one_of(&self.times).clone();
        let pacing = self.pacing().await;
        let what = format!("codex-cache before {cutoff}, beside {:?}", pacing.beside);
        let executed = self.run(&what, pacing, Some(cutoff.clone()), 0).await?;
        if let Some(executed) = executed {
            self.must_be_done(&executed, &cutoff).await?;
        }
        Ok(())
    }

    /// Nothing is called done that is not.
    async fn must_be_done(&mut self, executed: &Executed, cutoff: &str) -> Result<(), String> {
        if matches!(executed, Executed::Done(_, repaired) if repaired.had_to_leave()) {
            return Ok(());
        }
        let left: i64 = self.session.query_one(LEFT, &[&cutoff]).await.unwrap().get(0);
        if left == 0 { Ok(()) } else { Err(self.fail(&format!("it is done, and {left} rows are left"))) }
    }

    async fn undo(&mut self) -> Result<(), String> {
        let runs = self.runs().await;
        if runs.is_empty() {
            return Ok(());
        }
        let (run, _) = self.dice.one_of(&runs).clone();
        let pacing = self.pacing().await;
        self.run(&format!("undo {run}"), pacing, None, run).await.map(|_| ())
    }

    async fn close(&mut self) -> Result<(), String> {
        let Some(run) = self.unfinished().await else { return Ok(()) };
        match repairer(&self.database, &CancellationToken::new()).close(run, Duration::from_secs(5)).await {
            Ok(_) => self.story += &format!("closed {run}\n"),
            Err(error) => return Err(self.fail(&format!("close {run}: {error}"))),
        }
        Ok(())
    }

    /// Repairs, or undoes; in some cases it is killed, stopped, or the clock jumps in the middle of it.
    async fn run(
        &mut self,
        what: &str,
        mut pacing: Pacing,
        cutoff: Option<String>,
        undo: i64,
    ) -> Result<Option<Executed>, String> {
        let cancel = CancellationToken::new();
        let repairer = repairer(&self.database, &cancel);
        let how = self.dice.below(8);
        if how < 4 {
            pacing.sleep_between_batches = Duration::from_millis(4);
        }
        if how == 3 {
            pacing.max_runtime = Some(Duration::from_millis(1 + self.dice.below(12)));
        }
        let after = Duration::from_millis(15 + self.dice.below(60));
        let work = async {
            match cutoff {
                Some(cutoff) => {
                    let arguments = json!({ "cutoff": cutoff, "workspace_id": null });
                    repairer.execute("codex-cache", &arguments, None, &pacing).await
                }
                None => repairer.undo(undo, None, &pacing).await.map(|(_, executed)| executed),
            }
        };
        tokio::pin!(work);
        let early = if how < 3 { tokio::time::timeout(after, &mut work).await.ok() } else { None };
        let outcome = match early {
            Some(outcome) => outcome,
            None => {
                match how {
                    0 => {
                        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'migrate%'";
                        self.session.batch_execute(kill).await.unwrap();
                    }
                    1 => cancel.cancel(),
                    2 => self.move_clock(),
                    _ => {}
                }
                work.await
            }
        };
        let said = match &outcome {
            Ok(Executed::NothingToDo(_)) => "nothing to do".to_owned(),
            Ok(Executed::Done(_, repaired)) => {
                format!("run {} is {}, {} rows", repaired.run, repaired.state.as_str(), repaired.totals.rows)
            }
            Err(error) => error.to_string(),
        };
        let _ = writeln!(self.story, "{what} ({how}): {said}");
        match outcome {
            Ok(executed) => Ok(Some(executed)),
            Err(error) if how < 2 || is_refusal(&error) => Ok(None),
            Err(error) => Err(self.fail(&error.to_string())),
        }
    }

    /// In the end all is repaired, unless somebody has taken away what it takes to know how.
    async fn come_to_an_end(&mut self) -> Result<(), String> {
        self.set_clock(self.most);
        while self.unfinished().await.is_some() {
            self.close().await?;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let cutoff = self.time().await;
        let pacing = Pacing::default();
        let arguments = json!({ "cutoff": cutoff, "workspace_id": null });
        let executed =
            repairer(&self.database, &CancellationToken::new()).execute("codex-cache", &arguments, None, &pacing).await;
        self.check().await?;
        match executed {
            Ok(executed) => self.must_be_done(&executed, &cutoff).await,
            Err(RepairError::Refused { .. }) if self.lost => Ok(()),
            Err(error) => Err(self.fail(&format!("in the end: {error}"))),
        }
    }
}

fn repairer(database: &TestDatabase, cancel: &CancellationToken) -> Repairer {
    let database = Database::from_url(&database.url).unwrap();
    Repairer::new(PLATFORM, Platform.repairs(), database, cancel.clone(), |_| {})
}

/// Whether the program had a reason to do nothing more.
fn is_refusal(error: &RepairError) -> bool {
    match error {
        RepairError::Stopped { source, .. } => is_refusal(source),
        RepairError::Refused { .. } | RepairError::Unfinished { .. } | RepairError::ClockSetBack { .. } => true,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_taken_twice_and_none_is_given_back_twice() {
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let (first, count) = match variable("REPAIR_ROUND") {
        Some(round) => (round, 1),
        None => (seed("REPAIR_SEED"), variable("REPAIR_ROUNDS").unwrap_or(ROUNDS)),
    };
    let next = Arc::new(AtomicU64::new(first));
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..WORKERS.min(usize::try_from(count).unwrap_or(WORKERS)) {
        let next = Arc::clone(&next);
        workers.spawn(async move {
            let mut game = Game::new(number).await;
            loop {
                let round = next.fetch_add(1, Ordering::SeqCst);
                if round >= first + count {
                    return None;
                }
                if let Err(story) = game.play(round).await {
                    next.store(u64::MAX / 2, Ordering::SeqCst);
                    return Some((round, story));
                }
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        if let Some((round, story)) = ended.expect("a worker does not panic") {
            panic!("repeat it with\n    REPAIR_ROUND={round} script/repairs\n{story}");
        }
    }
    println!("{count} rounds");
}
