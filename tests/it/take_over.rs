//! A folder that another tool has applied in part: `up` goes on where that tool stopped, and keeps its history in step.

use std::path::{Path, PathBuf};

use crate::harness::TestDatabase;

mod tools;

use tools::{
    B, DBMATE, DIESEL, DRIZZLE, DRIZZLE_FOLDERS, FLYWAY, GOLANG_MIGRATE, GOOSE, PRISMA, REFINERY, SQLX, SUPABASE,
    TOOLS, Tool, UP_DOWN,
};

/// A database where a tool has begun, and its folder.
struct Begun {
    database: TestDatabase,
    tool: &'static Tool,
    folder: PathBuf,
}

impl Begun {
    async fn by(tool: &'static Tool, name: &str) -> Self {
        let folder = format!("take-over-{}-{}-{name}", std::process::id(), tool.layout);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let _ = std::fs::remove_dir_all(&folder);
        let begun = Self { database: TestDatabase::empty().await, tool, folder };
        for (path, text) in tool.files.into_iter().chain(tool.beside) {
            begun.write(path, text);
        }
        let manifest = format!("[set.app]\ndir = \"migrations\"\nlayout = \"{}\"\nkeep = true\n", tool.layout);
        std::fs::write(begun.folder.join("migrate.toml"), manifest).unwrap();
        let (schema, _) = tool.table.split_once('.').unwrap();
        let Tool { table, columns, rows, .. } = tool;
        let made = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {table} ({columns}); INSERT INTO {table} VALUES {rows}"
        );
        let applied = tool.files[1..tool.applied].iter().map(|_| B).collect::<String>();
        begun.database.batch(&format!("{made}; {applied}")).await;
        begun
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join("migrations").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.folder.join("migrations").join(path)).unwrap();
        // An empty folder would be one of a migration without its file.
        if let Some((folder, _)) = path.split_once('/') {
            std::fs::remove_dir(self.folder.join("migrations").join(folder)).unwrap();
        }
    }

    /// Runs a command, and returns what it says.
    #[track_caller]
    fn run(&self, code: i32, args: &[&str]) -> String {
        let done = self.database.program().current_dir(&self.folder).args(args.iter().copied()).run().expect(code);
        format!("{}{}", done.stdout, done.told())
    }

    /// The rows of the tool's history, but for what differs from run to run.
    async fn written(&self) -> Vec<String> {
        let Tool { table, but, .. } = self.tool;
        let sql = format!("SELECT (to_jsonb(t) - $1::text[])::text FROM {table} t ORDER BY 1");
        self.database.rows(&sql, &[but]).await.iter().map(|row| row.get(0)).collect()
    }

    async fn change(&self, set: &str) {
        self.database.batch(&format!("UPDATE {} SET {set}", self.tool.table)).await;
    }

    /// `up` is refused, dry or not, with this message, and has written nothing.
    async fn is_refused(&self, message: &str) {
        let before = self.written().await;
        for args in [&["up"][..], &["up", "--dry-run"]] {
            assert_eq!(self.run(7, args), format!("error: {message}\n"));
        }
        assert_eq!(self.written().await, before);
        let schemas: i64 = self.database.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'migrate'").await;
        assert_eq!(schemas, 0);
    }

    /// `up` applies the rest.
    async fn goes_on(&self) {
        self.run(0, &["up"]);
        assert!(self.database.value::<bool>("SELECT to_regclass('c') IS NOT NULL").await);
    }
}

#[tokio::test]
async fn up_goes_on_where_each_tool_stopped_and_writes_its_rows() {
    for tool in TOOLS {
        let begun = Begun::by(tool, "on").await;
        let status = begun.run(0, &["status"]);
        let planned = begun.run(0, &["up", "--dry-run"]);
        let versions = if tool.applied == 1 { "1 version" } else { "2 versions" };
        assert!(planned.contains(&format!("{versions} recorded in {}", tool.table)), "{planned}{status}");
        begun.goes_on().await;
        let written = begun.written().await;
        assert!(written.contains(&tool.last.to_owned()), "{}: {written:#?}", tool.layout);
        let expected = match tool.layout {
            "golang-migrate" => 1,
            // Its row 0.
            "goose" => 4,
            _ => 3,
        };
        assert_eq!(written.len(), expected, "{}: {written:#?}", tool.layout);
        assert!(begun.run(0, &["up"]).starts_with("nothing to do"));
        let adopted = format!("history: 3 versions, {} of them adopted, as they were applied\n", tool.applied);
        assert_eq!(begun.run(0, &["verify", "history"]), adopted);
        assert_eq!(begun.written().await, written);
    }
}

#[tokio::test]
async fn what_a_tool_did_not_finish_is_refused_with_what_clears_it() {
    let begun = Begun::by(&GOLANG_MIGRATE, "dirty").await;
    begun.change("dirty = true").await;
    begun
        .is_refused(
            "public.schema_migrations says that golang-migrate did not finish version 2 (dirty); nothing was written; if all of \
             its statements are applied, run: UPDATE public.schema_migrations SET dirty = false; if none is: UPDATE \
             public.schema_migrations SET version = <the version before>, dirty = false",
        )
        .await;
    begun.change("dirty = false").await;
    begun.goes_on().await;

    let begun = Begun::by(&FLYWAY, "failed").await;
    begun.change("success = false").await;
    let clear = "DELETE FROM public.flyway_schema_history WHERE version = '1' AND NOT success";
    begun
        .is_refused(&format!(
            "public.flyway_schema_history says that 1 failed when flyway applied it; nothing was written; undo what it has done, \
             then run: flyway repair, or {clear}"
        ))
        .await;
    begun.database.batch(clear).await;
    begun.goes_on().await;

    let begun = Begun::by(&PRISMA, "failed").await;
    begun
        .database
        .batch("UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '2_b'; DROP TABLE b")
        .await;
    let clear = "UPDATE public._prisma_migrations SET rolled_back_at = pg_catalog.now() WHERE migration_name = '2_b' AND finished_at IS NULL";
    begun
        .is_refused(&format!(
            "public._prisma_migrations says that 2_b failed when prisma applied it; nothing was written; if all of its \
             statements are applied, run: prisma migrate resolve --applied 2_b; if none is: prisma migrate resolve \
             --rolled-back 2_b, or {clear}"
        ))
        .await;
    begun.database.batch(clear).await;
    begun.goes_on().await;

    let begun = Begun::by(&SQLX, "failed").await;
    begun.database.batch("UPDATE _sqlx_migrations SET success = false WHERE version = 2; DROP TABLE b").await;
    let clear = "DELETE FROM public._sqlx_migrations WHERE version = 2";
    begun
        .is_refused(&format!(
            "public._sqlx_migrations says that 2 failed when sqlx applied it; nothing was written; if all of its statements are \
             applied, run: UPDATE public._sqlx_migrations SET success = true WHERE version = 2; if none is: {clear}"
        ))
        .await;
    begun.database.batch(clear).await;
    begun.goes_on().await;

    let begun = Begun::by(&GOOSE, "rolled-back").await;
    begun.database.batch("INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, false); DROP TABLE b").await;
    let clear = "DELETE FROM public.goose_db_version WHERE version_id = 2";
    begun
        .is_refused(&format!(
            "public.goose_db_version says that 2 was rolled back, and goose would not apply it again; nothing was written; to \
             have it applied again, run: {clear}"
        ))
        .await;
    begun.database.batch(clear).await;
    begun.goes_on().await;
}

#[tokio::test]
async fn what_prisma_rolled_back_is_applied_again() {
    let begun = Begun::by(&PRISMA, "again").await;
    let rolled_back = "UPDATE _prisma_migrations SET finished_at = NULL, rolled_back_at = pg_catalog.now() WHERE migration_name = '2_b'";
    begun.database.batch(&format!("{rolled_back}; DROP TABLE b")).await;
    begun.goes_on().await;
    // Its attempt stays, beside the one that has finished.
    assert_eq!(begun.written().await.len(), 4);
}

#[tokio::test]
async fn a_file_that_is_not_what_was_applied_is_refused_by_its_tools_own_rule() {
    const HINT: &str = "nothing was written; restore the file as it was applied, and put the change into a new one; if it must \
        stay, correct the checksum as";
    for (tool, table, name) in [
        (&SQLX, "public._sqlx_migrations", "sqlx"),
        (&REFINERY, "public.refinery_schema_history", "refinery"),
        (&FLYWAY, "public.flyway_schema_history", "flyway"),
        (&PRISMA, "public._prisma_migrations", "prisma"),
    ] {
        let begun = Begun::by(tool, "changed").await;
        let file = tool.files[0].0;
        begun.write(file, "SELECT 2;\n");
        let said = begun.run(7, &["up"]);
        let (expected, end) = (format!("error: {file} is not what {name} applied: {table} has checksum "), HINT);
        assert!(said.starts_with(&expected) && said.ends_with(&format!("; {end} {name} would\n")), "{said}");
        begun.is_refused(said.trim_start_matches("error: ").trim_end()).await;
        begun.write(file, tool.files[0].1);
        begun.goes_on().await;
    }
    // What does not count for them: line ends for Flyway and Prisma.
    for tool in [&FLYWAY, &PRISMA] {
        let begun = Begun::by(tool, "line-ends").await;
        begun.write(tool.files[0].0, "SELECT 1;\r\n");
        begun.goes_on().await;
    }
    // Those that keep no checksum, or never compare it, do not see a change.
    for tool in [&GOLANG_MIGRATE, &DBMATE, &GOOSE, &DIESEL, &DRIZZLE, &DRIZZLE_FOLDERS, &SUPABASE, &UP_DOWN] {
        let begun = Begun::by(tool, "edited").await;
        begun.write(tool.files[0].0, &tool.files[0].1.replace("SELECT 1", "SELECT 2"));
        begun.goes_on().await;
    }
}

#[tokio::test]
async fn an_entry_without_a_file_is_refused_where_its_tool_would() {
    for (tool, entry) in [(&SQLX, "2"), (&PRISMA, "2_b"), (&SUPABASE, "002")] {
        let begun = Begun::by(tool, "without").await;
        begun.remove(tool.files[1].0);
        let message = format!(
            "{} of {} records {entry}, for which there is no file; nothing was written; is this the right folder, and whole? A \
             newer checkout may have the file",
            tool.table, tool.layout
        );
        begun.is_refused(&message).await;
        begun.write(tool.files[1].0, tool.files[1].1);
        begun.goes_on().await;
    }
    // These ignore it on the way up.
    for tool in [&DBMATE, &GOOSE, &DIESEL, &UP_DOWN] {
        let begun = Begun::by(tool, "ignored").await;
        begun.remove(tool.files[1].0);
        begun.goes_on().await;
    }
}

#[tokio::test]
async fn flyways_baseline_counts_up_to_its_version_however_that_is_written() {
    let begun = Begun::by(&FLYWAY, "baseline").await;
    let baseline =
        "(2, '02.0', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', NULL, 'me', now(), 0, true)";
    begun.database.batch(&format!("INSERT INTO flyway_schema_history VALUES {baseline}; {B}")).await;
    begun.goes_on().await;
    assert_eq!(begun.run(0, &["verify", "history"]), "history: 3 versions, 2 of them adopted, as they were applied\n");
}

#[tokio::test]
async fn flyways_repeatable_files_are_taken_over_and_recorded() {
    let begun = Begun::by(&FLYWAY, "repeatable").await;
    begun.write("R__a_view.sql", "CREATE OR REPLACE VIEW v AS SELECT 1 AS n;\n");
    begun.write("R__other.sql", "CREATE OR REPLACE VIEW w AS SELECT 1 AS n;\n");
    begun.goes_on().await;
    let of = |description: &str| {
        format!("SELECT count(*) FROM flyway_schema_history WHERE version IS NULL AND description = '{description}'")
    };
    let row =
        "SELECT (type, script, installed_rank, success)::text FROM flyway_schema_history WHERE description = 'a view'";
    assert_eq!(begun.database.value::<String>(row).await, "(SQL,R__a_view.sql,4,t)");
    assert!(begun.run(0, &["up"]).starts_with("nothing to do"));
    // What Flyway has applied in its newest form is not applied once more; a changed file is, and gets a new row.
    begun.database.batch("DELETE FROM migrate.repeatable; DROP VIEW v, w").await;
    begun.write("R__other.sql", "CREATE OR REPLACE VIEW w AS SELECT 2 AS n;\n");
    begun.run(0, &["up"]);
    assert!(begun.database.value::<bool>("SELECT to_regclass('v') IS NULL AND to_regclass('w') IS NOT NULL").await);
    let counted: [i64; 2] = [begun.database.value(&of("a view")).await, begun.database.value(&of("other")).await];
    assert_eq!(counted, [1, 2]);
    begun.run(0, &["verify", "history"]);
    assert!(begun.run(0, &["up"]).starts_with("nothing to do"));
}
