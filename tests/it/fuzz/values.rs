//! Values that a database can hold, in every column that the program reads: none may end it with a panic, or make a check
//! look at nothing and call it equal.

use std::cell::Cell;
use std::time::Duration;

use migrate::CancellationToken;
use migrate::cli::Content as _;
use migrate::db::{Connection, Connector, Database, Observer};
use migrate::engine::{Event, Migrator, Set, UpOptions};
use migrate::platform::usage::{self, Scope, Standing, Survey};
use migrate::platform::{self, Platform};
use migrate::repair::{Pacing, Repairer};
use serde_json::json;
use time::OffsetDateTime;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{cases, seeds, try_seeds};
use crate::harness::{Dice, TestDatabase};

/// Two databases side by side, as there are two cores.
const WORKERS: u64 = 2;

const TIMES: [&str; 16] = [
    "-infinity",
    "infinity",
    "4713-11-24 BC",
    "0001-12-31 23:59:59.999999 BC",
    "0001-01-01",
    "0000-12-31",
    "1969-12-31 23:59:59.999999",
    "epoch",
    "2000-01-01",
    "9998-12-31 23:59:59.999999",
    "9999-01-01",
    "9999-12-31 23:59:59.999999",
    "10000-01-01",
    "20000-01-01",
    "294276-12-31 23:59:59.999999",
    "now",
];

const WORDS: [&str; 12] = [
    "",
    " ",
    "null",
    "running",
    "done",
    "infinity",
    "-1",
    "18446744073709551616",
    "V104",
    "\u{1b}[31mred\u{7}\r\n",
    "ü\u{202e}\u{feff}",
    "'; DROP TABLE migrate.history_platform; --",
];

const NUMBERS: [&str; 8] =
    ["0", "-1", "1", "103", "9223372036854775807", "-9223372036854775808", "2147483647", "32767"];

const DOCUMENTS: [&str; 12] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "1e400",
    "{\"done\": \"infinity\"}",
    "{\"began_at\": \"yesterday\", \"done\": null, \"buckets\": -1}",
    "{\"began_at\": \"infinity\", \"done\": \"9999-12-31T23:59:59Z\", \"buckets\": 1}",
    "[{\"name\": 1}]",
    "{\"cutoff\": \"20000-01-01\"}",
    "{\"input_tokens\": \"many\"}",
];

/// A column, and the table that it is in.
struct Column {
    table: String,
    name: String,
    sql_type: String,
}

impl Column {
    /// A value of its type, as a literal.
    fn value(&self, dice: &mut Dice) -> String {
        let literal = |text: &str| format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let any = |dice: &mut Dice, words: &[&'static str]| {
            let word: &&str = dice.one_of(words);
            literal(word)
        };
        let choice = match self.sql_type.as_str() {
            "date" | "timestamp with time zone" if dice.below(4) == 0 => {
                // Any microsecond that there is, counted from 2000.
                let span = 9_223_371_331_200_000_000_u64;
                let at = i128::from(dice.next() % span) - i128::from(span / 40);
                return format!(
                    "('2000-01-01 UTC'::timestamptz + interval '{} seconds')::{}",
                    at / 1_000_000,
                    self.sql_type
                );
            }
            "date" | "timestamp with time zone" => any(dice, &TIMES),
            "bigint" | "integer" | "smallint" | "numeric" => any(dice, &NUMBERS),
            "jsonb" => any(dice, &DOCUMENTS),
            "boolean" => any(dice, &["true", "false"]),
            "uuid" => literal("00000000-0000-0000-0000-000000000000"),
            _ if self.sql_type.ends_with("[]") => any(dice, &["{}", "{NULL}", "{a,b}", "{1}"]),
            _ => any(dice, &WORDS),
        };
        if dice.below(12) == 0 { "NULL".to_owned() } else { format!("{choice}::{}", self.sql_type) }
    }
}

/// A database with usage, a repair run that was undone, one that was interrupted, and progress of a hook.
struct World {
    database: TestDatabase,
    session: Client,
    /// A session of the program.
    connection: Connection,
    /// The platform's set; and one with the same files and nothing besides.
    platform: Set,
    plain: Set,
    /// Whether it is the program's own memory that is damaged.
    history: bool,
    /// The tables, each with whether it may have changed.
    tables: Vec<(String, Cell<bool>)>,
    columns: Vec<Column>,
    task: Uuid,
    workspace: Uuid,
}

const REPAIR: [&str; 3] = ["repair", "codex-cache", "--execute"];

impl World {
    async fn new(columns_of: &str, history: bool) -> Self {
        let database = TestDatabase::at_version(104, 40, 3).await;
        database.batch("UPDATE task_usage SET provider = 'codex', input_tokens = 9, cache_read_tokens = 4").await;
        let cutoff: String =
            database.value("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").await;
        database.program().args(REPAIR).args(["--cutoff", &cutoff]).run().expect(0);
        database.program().args(["repair", "undo", "1", "--execute"]).run().expect(0);
        database
            .batch(
                "UPDATE migrate.repair_run SET state = 'interrupted', finished_at = NULL WHERE id = 2;
                 INSERT INTO migrate.hook_state (set_name, hook, before_version, state)
                 VALUES ('platform', 'hourly-backfill', 103,
                         '{\"began_at\": \"2026-01-01 00:00:00+00\", \"done\": null, \"buckets\": 3}');
                 INSERT INTO task_usage_hourly_dirty
                     (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model)
                 SELECT bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, model
                 FROM task_usage_hourly LIMIT 1;
                 INSERT INTO task_usage_hourly_invalidation (bucket_hour) VALUES ('2026-01-01');
                 UPDATE task_usage_hourly_rollup_state SET last_run_started_at = now(), last_run_finished_at = now()",
            )
            .await;
        let session = database.session().await;
        // Only the values are of interest here, not what the application's triggers and keys say of them.
        session.batch_execute("SET session_replication_role TO replica; SET TimeZone TO 'UTC'").await.unwrap();
        let rows = session
            .query(
                &format!(
                    "SELECT c.oid::regclass::text, a.attname::text, format_type(a.atttypid, NULL)
                     FROM pg_class c
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                     WHERE c.relkind = 'r' AND a.attgenerated = '' AND ({columns_of})
                     ORDER BY 1, 2"
                ),
                &[],
            )
            .await
            .unwrap();
        let columns: Vec<_> =
            rows.iter().map(|row| Column { table: row.get(0), name: row.get(1), sql_type: row.get(2) }).collect();
        let tables: Vec<(String, Cell<bool>)> = session
            .query(
                "SELECT c.oid::regclass::text FROM pg_class c
                 WHERE c.relkind = 'r'
                   AND (c.relnamespace = 'migrate'::regnamespace OR c.oid::regclass::text LIKE 'task_usage%')",
                &[],
            )
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get(0), Cell::new(false)))
            .collect();
        for (at, (table, _)) in tables.iter().enumerate() {
            session.batch_execute(&format!("CREATE TEMP TABLE kept_{at} AS TABLE {table}")).await.unwrap();
        }
        let one = |sql: &'static str| database.value::<Uuid>(sql);
        let task = one("SELECT task_id FROM task_usage ORDER BY id LIMIT 1").await;
        let workspace = one("SELECT workspace_id FROM task_usage_hourly LIMIT 1").await;
        assert!(columns.len() > 5, "{}", columns.len());
        let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
        let connection = connector.connect("fuzz").await.unwrap();
        let platform = platform::platform().unwrap();
        let plain = platform
            .migrations()
            .iter()
            .fold(Set::builder(platform::PLATFORM), |set, migration| set.migration(&migration.file(), migration.sql()));
        let plain = plain.build().unwrap();
        Self { session, connection, platform, plain, history, tables, columns, task, workspace, database }
    }

    /// Everything as it was in the beginning.
    async fn restore(&self) {
        let mut sql = "BEGIN; ".to_owned();
        for (at, (table, _)) in self.tables.iter().enumerate().filter(|(_, (_, changed))| changed.take()) {
            sql += &format!("DELETE FROM {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE kept_{at}; ");
        }
        self.session.batch_execute(&(sql + "COMMIT")).await.unwrap();
    }

    fn note_change(&self, of: impl Fn(&str) -> bool) {
        self.tables.iter().filter(|(table, _)| of(table)).for_each(|(_, changed)| changed.set(true));
    }

    /// Puts a value somewhere: what was done, unless the database does not take it.
    async fn damage(&self, dice: &mut Dice) -> Option<String> {
        let column = dice.one_of(&self.columns);
        let Column { table, name, .. } = column;
        let which = match dice.below(3) {
            0 => "true".to_owned(),
            _ => format!("ctid = (SELECT ctid FROM {table} ORDER BY ctid OFFSET {} LIMIT 1)", dice.below(4)),
        };
        let sql = format!("UPDATE {table} SET {name} = {} WHERE {which}", column.value(dice));
        self.note_change(|changed| changed == table);
        self.session.batch_execute(&sql).await.is_ok().then_some(sql)
    }

    async fn play(&self, dice: &mut Dice) -> Result<(), String> {
        let mut story = String::new();
        for _ in 0..=dice.below(3) {
            if let Some(done) = self.damage(dice).await {
                story += &done;
                story += ";\n";
            }
        }
        let seen = self.look(dice).await.map_err(|what| format!("{story}=> {what}"));
        self.restore().await;
        seen
    }

    /// Looks at it in one of the ways there are. An error is as good an answer as any; a panic is not.
    async fn look(&self, dice: &mut Dice) -> Result<(), String> {
        let target = Database::from_url(&self.database.url).unwrap();
        let cancel = CancellationToken::new();
        let connector = Connector::new(target.clone(), cancel.clone());
        // With the platform's own objects, which take time to read, in one of four.
        let set = if dice.below(4) == 0 { &self.platform } else { &self.plain };
        let migrator = || Migrator::new(set.clone(), target.clone(), cancel.clone(), |_: Event| {});
        let repairer = || Repairer::new(platform::PLATFORM, Platform.repairs(), target.clone(), cancel.clone(), |_| {});
        let short = Duration::from_millis(200);
        let pacing = Pacing { lock_wait: short, ..Pacing::default() };
        let options = UpOptions { lock_wait: short, ..UpOptions::default() };
        // Most looks at usage are cheap; those at our own history begin with a session each.
        let choice = if self.history { dice.below(8) } else { dice.below(120) };
        match choice {
            0 => drop(migrator().status().await),
            1 => drop(migrator().verify_history().await),
            2 => drop(repairer().runs(None, &mut |_| {}).await),
            3 => drop(repairer().undo_dry_run(1, &pacing, &mut |_, _| {}).await),
            4 => drop(migrator().preview(&options).await),
            5 => {
                let cutoff = json!({ "cutoff": "2026-01-01T00:00:00Z" });
                drop(repairer().look("codex-cache", &cutoff, &pacing, &mut |_, _| {}).await);
                drop(
                    repairer().forecast("hourly-rollup", &json!({ "months_back": null, "force_partial": false })).await,
                );
            }
            6 => {
                self.note_change(|_| true);
                drop(migrator().up(&options).await);
            }
            7 => {
                self.note_change(|_| true);
                drop(usage::tick(&self.connection, short).await);
            }
            8 => {
                self.note_change(|_| true);
                drop(usage::fix(&connector, Scope::default(), short, &Observer::silent()).await);
            }
            9..20 => self.compare(&connector).await?,
            20..60 => {
                drop(usage::of_task(&self.connection, self.task).await);
                let since = OffsetDateTime::UNIX_EPOCH;
                drop(usage::by_day_and_model(&self.connection, self.workspace, since).await);
            }
            _ => {
                drop(Standing::read(&self.connection).await);
                drop(Survey::read(&self.connection).await);
            }
        }
        Ok(())
    }

    /// With a bucket missing for certain.
    async fn compare(&self, connector: &Connector) -> Result<(), String> {
        let remove = "DELETE FROM task_usage_hourly h
                      WHERE h.ctid = (SELECT max(s.ctid) FROM task_usage_hourly s WHERE isfinite(s.bucket_hour))";
        self.note_change(|changed| changed == "task_usage_hourly");
        self.session.batch_execute(remove).await.unwrap();
        match usage::compare(connector, Scope::default(), &Observer::silent()).await {
            Ok(found) if found.wrong() == 0 && found.waiting == 0 && !found.is_stalled() => {
                Err(format!("a bucket is missing, and nothing is said of it: {found:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// Goes through the cases with values in these columns.
fn go_through(columns_of: &str, history: bool) {
    let seeds: Vec<u64> = seeds(cases(200)).collect();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let mine = seeds.iter().copied().filter(move |seed| seed % WORKERS == worker).collect::<Vec<_>>();
            scope.spawn(move || {
                if mine.is_empty() {
                    return;
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let world = runtime.block_on(World::new(columns_of, history));
                try_seeds(mine.into_iter(), |dice| runtime.block_on(world.play(dice)));
                runtime.block_on(async { drop(world) });
            });
        }
    });
}

#[test]
fn no_time_ends_the_program_or_hides_a_missing_bucket() {
    go_through(
        "(c.relnamespace = 'migrate'::regnamespace OR c.oid::regclass::text LIKE 'task_usage%')
         AND a.atttypid IN ('timestamptz'::regtype, 'date'::regtype)",
        false,
    );
}

#[test]
fn no_row_of_our_own_books_ends_the_program() {
    go_through("c.relnamespace = 'migrate'::regnamespace", true);
}
