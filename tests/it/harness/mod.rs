//! A server for the run, a database for each test, and the program as a process.

mod dice;
mod namespace;
mod program;
mod project;
pub mod release;
mod server;
mod volume;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};

pub use dice::{Dice, seed};
pub use namespace::Machine;
pub use program::{Finished, Program, Running};
pub use project::Project;
pub use server::{
    Clock, server_url, server_with_a_clock, special_server, standby_of, start_special_server_again, stop_special_server,
};
pub use volume::Volume;

/// A database of its own, dropped at the end of the test.
pub struct TestDatabase {
    pub name: String,
    pub url: String,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// An empty database.
    pub async fn empty() -> Self {
        Self::from_template("template1").await
    }

    /// A copy of another one, which nobody may be connected to.
    pub async fn from_template(template: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("migrate_test_{}_{number}", std::process::id());
        let admin = session(&server_url()).await;
        // Two copies of one template at the same moment get into each other's way on the server.
        for attempt in 0.. {
            match admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await {
                Ok(()) => break,
                Err(error) if attempt < 50 => {
                    assert_eq!(error.code().map(|code| code.code()), Some("55006"), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        Self { url: with_database(&server_url(), &name), name }
    }

    /// A new database on another server than that of the run, which goes away with it.
    pub async fn on_server(url: &str, name: &str) -> Self {
        session(url).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        Self { name: name.to_owned(), url: with_database(url, name) }
    }

    /// A database at `version`, with `rows` usage rows over `days` days if any are asked for.
    pub async fn at_version(version: i64, rows: u32, days: u32) -> Self {
        let database = Self::empty().await;
        // Usage is written at version 84, as an application of that time would have.
        database.program().args(["up", "--target", "84"]).run().expect(0);
        if rows > 0 {
            database.write_usage(rows, days).await;
        }
        if version > 84 {
            database.program().args(["up", "--target", &version.to_string()]).run().expect(0);
        }
        database
    }

    /// Made-up usage. The database must be at version 72 or later.
    pub async fn write_usage(&self, rows: u32, days: u32) {
        let script = include_str!("../../../src/platform/made_up.sql");
        let session = self.session().await;
        session
            .batch_execute(&format!("SET migrate.rows = '{rows}'; SET migrate.days = '{days}'; {script}"))
            .await
            .expect("usage is written");
    }

    /// The program, run on this database.
    pub fn program(&self) -> Program {
        Program::new().env("DATABASE_URL", &self.url)
    }

    /// A session as an application would have it.
    pub async fn session(&self) -> Client {
        session(&self.url).await
    }

    /// One value.
    pub async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        self.session().await.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Rows of one query.
    pub async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.session().await.query(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Any number of statements.
    pub async fn batch(&self, sql: &str) {
        self.session().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Makes a role the owner of every table and function in the schema public.
    pub async fn give_to(&self, role: &str) {
        self.batch(&format!(
            "DO $$
             DECLARE
                 v_object text;
             BEGIN
                 FOR v_object IN
                     SELECT 'TABLE ' || oid::regclass FROM pg_class
                     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                     UNION ALL
                     SELECT 'FUNCTION ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 LOOP
                     EXECUTE 'ALTER ' || v_object || ' OWNER TO {role}';
                 END LOOP;
             END
             $$"
        ))
        .await;
    }

    /// Fails unless the hourly table equals the raw usage, bucket by bucket.
    pub async fn assert_parity(&self) {
        let session = self.session().await;
        // Without the verdict at its end: an error there would take the tables with it that show the difference.
        let (tables, _) = include_str!("../../../script/parity.sql").split_once("\nDO $$").expect("a verdict");
        session.batch_execute(tables).await.expect("two tables to compare");
        let differing = session
            .query(
                "SELECT 'missing' AS what, m::text FROM (TABLE raw EXCEPT TABLE hourly) m
                 UNION ALL SELECT 'extra', e::text FROM (TABLE hourly EXCEPT TABLE raw) e LIMIT 10",
                &[],
            )
            .await
            .expect("a comparison");
        let differing: String =
            differing.iter().map(|r| format!("{} {}\n", r.get::<_, &str>(0), r.get::<_, &str>(1))).collect();
        assert!(differing.is_empty(), "the hourly table differs from the raw usage:\n{differing}");
    }

    /// Fails unless every bucket that can only hold usage from before the watermark is right.
    pub async fn assert_parity_before_the_watermark(&self) {
        self.batch("DELETE FROM task_usage WHERE created_at >= now() - interval '5 minutes'").await;
        self.batch("SELECT rollup_task_usage_hourly_window(now() - interval '1 second', now() + interval '1 second')")
            .await;
        self.assert_parity().await;
    }

    /// Applies the hourly pipeline again with one of its intervals shortened, so that a test need not wait for it.
    pub async fn shorten(&self, interval: &str, to: &str) {
        let file = include_str!("../../../migrations/platform/R__usage_pipeline.sql");
        let shortened = file.replace(&format!("interval '{interval}'"), &format!("interval '{to}'"));
        assert_ne!(file, shortened);
        self.batch(&format!("BEGIN; {shortened} COMMIT;")).await;
    }

    /// The versions recorded as applied.
    pub async fn versions(&self) -> Vec<i64> {
        let rows = self.rows("SELECT version FROM migrate.history_platform ORDER BY version", &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A run in the middle of its walk, inside a slice that takes its time.
    pub async fn in_the_walk(&self) -> Running {
        let runner = self.program().args(["up"]).start();
        self.wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                            AND query LIKE '%rollup_task_usage_hourly_window(%' AND pid <> pg_backend_pid()
                            AND query_start < clock_timestamp() - interval '100 ms')",
        )
        .await;
        runner
    }

    /// Waits until a query returns true.
    pub async fn wait_until(&self, sql: &str) {
        let session = self.session().await;
        for _ in 0..600 {
            if session.query_one(sql, &[]).await.expect("the question is valid").get(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("15 seconds have passed, and this is still not so: {sql}");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), server_url());
        // Drop cannot wait for a future on the runtime it is dropped from.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let admin = session(&url).await;
                let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropped.join();
    }
}

/// Every version that the program knows.
pub fn all_versions() -> Vec<i64> {
    let set = migrate::platform::platform().expect("the set is sound");
    set.migrations().iter().filter_map(|migration| migration.version().as_number()).collect()
}

/// The last of them.
pub fn latest() -> i64 {
    *all_versions().last().expect("there are versions")
}

/// A session that drives itself.
pub async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|e| panic!("{e:?}"));
    tokio::spawn(connection);
    client
}

/// The same server, another database.
pub fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
}

/// The same database with something else replaced: `user:password`, `host:port`.
pub fn with_authority(url: &str, credentials: Option<&str>, host: Option<&str>) -> String {
    let rest = url.strip_prefix("postgres://").expect("a postgres:// URL");
    let (old_credentials, rest) = rest.split_once('@').expect("a URL with a user");
    let (old_host, database) = rest.split_once('/').expect("a URL with a database");
    format!("postgres://{}@{}/{database}", credentials.unwrap_or(old_credentials), host.unwrap_or(old_host))
}
