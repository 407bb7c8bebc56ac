//! `migrate down`: versions are taken back newest first, each with its record, and no data is lost unasked.

use std::path::{Path, PathBuf};

use crate::harness::{Program, TestDatabase};

/// A database, and a folder of files.
struct Project {
    database: TestDatabase,
    folder: PathBuf,
}

/// Three tables, the last with a column of another.
const NOTES: [(&str, &str); 6] = [
    ("1_users.up.sql", "CREATE TABLE users (id int PRIMARY KEY);\n"),
    ("1_users.down.sql", "DROP TABLE users;\n"),
    ("2_notes.up.sql", "CREATE TABLE notes (id int PRIMARY KEY);\nCREATE INDEX notes_id ON notes (id);\n"),
    ("2_notes.down.sql", "DROP TABLE notes;\n"),
    ("3_title.up.sql", "ALTER TABLE notes ADD title text;\n"),
    ("3_title.down.sql", "ALTER TABLE notes DROP title;\n"),
];

impl Project {
    async fn of(files: &[(&str, &str)]) -> Self {
        let database = TestDatabase::empty().await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("down-{}", database.name));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let project = Self { database, folder };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// The same, with all of it applied.
    async fn applied(files: &[(&str, &str)]) -> Self {
        let project = Self::of(files).await;
        project.call(&["up"]).run().expect(0);
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join("sql").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn manifest(&self, more: &str) {
        std::fs::write(self.folder.join("migrate.toml"), format!("[set.main]\ndir = \"sql\"\n{more}")).unwrap();
    }

    fn call(&self, args: &[&str]) -> Program {
        let dir = ["--dir", "sql"];
        self.database.program().current_dir(&self.folder).args(args.iter().copied()).args(dir)
    }

    /// What the program says on standard error, which must be this refusal.
    #[track_caller]
    fn refused(&self, args: &[&str], message: &str) {
        let finished = self.call(args).run().expect(7);
        assert_eq!(finished.told(), format!("error: {message}\n"), "{}", finished.stdout);
    }

    async fn versions(&self) -> Vec<i64> {
        let rows = self.database.rows("SELECT version FROM migrate.history_main ORDER BY version", &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn has(&self, table: &str) -> bool {
        self.database.value(&format!("SELECT to_regclass('{table}') IS NOT NULL")).await
    }

    fn snapshot(&self) -> String {
        self.call(&["snapshot"]).run().expect(0).stdout
    }
}

#[tokio::test]
async fn down_shows_one_step_and_takes_it_back_when_told() {
    let project = Project::applied(&NOTES).await;
    let shown = project.call(&["down"]).run().expect(0);
    assert_eq!(
        shown.stdout,
        "would go back from version 3 to 2:\n  V3    title                                          3_title.down.sql\n\
         nothing was written; run migrate --dir sql down --execute to do it\n"
    );
    assert_eq!(project.versions().await, [1, 2, 3]);
    let done = project.call(&["down", "--execute"]).run().expect(0);
    assert!(done.stdout.starts_with("  -V3   title "), "{}", done.stdout);
    assert!(done.stdout.contains("\ndone: the database is at version 2 (1 migration taken back, "), "{}", done.stdout);
    assert_eq!(project.versions().await, [1, 2]);
    let columns: i64 = project
        .database
        .value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'notes'::regclass AND attname = 'title'")
        .await;
    assert_eq!(columns, 0);
    project.call(&["up"]).run().expect(0);
    assert_eq!(project.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn up_down_and_up_again_leave_the_same_schema() {
    let project = Project::applied(&NOTES).await;
    let built = project.snapshot();
    assert!(built.contains("notes"), "{built}");
    let shown = project.call(&["down", "--to", "0"]).run().expect(0);
    assert!(shown.stdout.starts_with("would go back from version 3 to 0:\n  V3 "), "{}", shown.stdout);
    project.call(&["down", "--to", "0", "--execute"]).run().expect(0);
    assert!(!project.has("users").await && project.versions().await.is_empty());
    let nothing = project.call(&["down", "--execute"]).run().expect(0);
    assert_eq!(nothing.stdout, "nothing to take back: the database is at version 0\n");
    project.call(&["up"]).run().expect(0);
    assert_eq!(project.snapshot(), built);
}

#[tokio::test]
async fn a_version_is_named_by_number_name_or_file_and_stays() {
    let project = Project::applied(&NOTES).await;
    for to in ["1", "1_users", "1_users.up.sql"] {
        project.call(&["down", "--to", to, "--execute"]).run().expect(0);
        assert_eq!(project.versions().await, [1], "{to}");
        project.call(&["up"]).run().expect(0);
    }
    project.call(&["down", "--steps", "2", "--execute"]).run().expect(0);
    assert_eq!(project.versions().await, [1]);
    assert_eq!(
        project.call(&["down", "--to", "9"]).run().expect(2).stderr,
        "error: there is no version 9: the latest is 3\n"
    );
    project.call(&["down", "--to", "1", "--steps", "1"]).run().expect(2);
    project.call(&["down", "--steps", "0"]).run().expect(2);
}

#[tokio::test]
async fn a_version_without_a_way_back_names_the_file_that_would_be_one() {
    let project = Project::applied(&NOTES).await;
    std::fs::remove_file(project.folder.join("sql/2_notes.down.sql")).unwrap();
    let message = "V2 (2_notes.up.sql) has no way back; nothing was written; write 2_notes.down.sql, or restore a backup of the \
                   time before";
    for args in [&["down", "--to", "0"][..], &["down", "--steps", "2", "--execute"]] {
        project.refused(args, message);
    }
    assert_eq!(project.versions().await, [1, 2, 3]);
    project.call(&["down", "--execute"]).run().expect(0);
    project.refused(&["down"], message);
}

#[tokio::test]
async fn the_built_in_set_has_no_way_back() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    let before = database.versions().await;
    let refused = database.program().args(["down", "--execute"]).run().expect(7).told().to_owned();
    assert!(
        refused.starts_with("error: V84 (")
            && refused.contains(") has no way back; nothing was written; restore a backup"),
        "{refused}"
    );
    assert_eq!(database.versions().await, before);
}

#[tokio::test]
async fn a_changed_file_stops_the_way_back() {
    let project = Project::applied(&NOTES).await;
    project.write("2_notes.up.sql", "CREATE TABLE notes (id bigint PRIMARY KEY);\n");
    let refused = project.call(&["down", "--execute"]).run().expect(4).told().to_owned();
    assert!(refused.starts_with("error: 2_notes.up.sql is not what was applied on "), "{refused}");
    assert_eq!(project.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_file_that_was_never_applied_is_no_obstacle() {
    let project = Project::applied(&NOTES[2..]).await;
    project.write(NOTES[0].0, NOTES[0].1);
    project.write(NOTES[1].0, NOTES[1].1);
    project.call(&["up"]).run().expect(4);
    project.call(&["down", "--to", "0", "--execute"]).run().expect(0);
    project.call(&["up"]).run().expect(0);
    assert_eq!(project.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn tables_and_columns_that_hold_data_stay_unless_their_loss_is_wanted() {
    let project = Project::applied(&NOTES).await;
    project.database.batch("INSERT INTO notes VALUES (1, 'a'); INSERT INTO users VALUES (1)").await;
    let column = "line 1 of 3_title.down.sql drops column public.notes.title, which holds data";
    let hint = "nothing was written; back up what is needed, then pass --lose-data";
    for args in [&["down"][..], &["down", "--execute"]] {
        project.refused(args, &format!("{column}; {hint}"));
    }
    let shown = project.call(&["down"]).run().expect(7).stdout;
    assert!(shown.contains("        line 1 drops column public.notes.title, which holds data\n"), "{shown}");
    assert!(!shown.contains("to do it"), "{shown}");
    let tables = "line 1 of 2_notes.down.sql drops table public.notes, which holds data, line 1 of 1_users.down.sql drops table \
                  public.users, which holds data";
    project.refused(&["down", "--to", "0", "--execute"], &format!("{column}, {tables}; {hint}"));
    assert_eq!(project.versions().await, [1, 2, 3]);
    let shown = project.call(&["down", "--to", "0", "--lose-data"]).run().expect(0).stdout;
    assert!(shown.ends_with("run migrate --dir sql down --to 0 --lose-data --execute to do it\n"), "{shown}");
    project.call(&["down", "--to", "0", "--lose-data", "--execute"]).run().expect(0);
    assert!(!project.has("users").await);
}

#[tokio::test]
async fn what_runs_code_or_was_renamed_cannot_be_judged() {
    let files = [
        ("1_a.up.sql", "CREATE TABLE a (id int); CREATE SCHEMA s; CREATE TABLE s.t (id int);"),
        ("1_a.down.sql", "DROP TABLE a;\nDROP SCHEMA s CASCADE;"),
        ("2_b.up.sql", "ALTER TABLE a RENAME TO b;"),
        ("2_b.down.sql", "ALTER TABLE b RENAME TO a;"),
        ("3_c.up.sql", "SELECT 1;"),
        ("3_c.down.sql", "DO $$BEGIN PERFORM 1; END$$;"),
    ];
    let project = Project::applied(&files).await;
    let hint = "nothing was written; back up what is needed, then pass --lose-data";
    let code = "line 1 of 3_c.down.sql runs a DO block: whether that drops data cannot be told";
    project.refused(&["down"], &format!("{code}; {hint}"));
    project.call(&["down", "--lose-data", "--execute"]).run().expect(0);
    project.call(&["down"]).run().expect(0);
    let renamed = "line 1 of 1_a.down.sql drops a after something was renamed: whether that drops data cannot be told";
    project.refused(&["down", "--to", "0"], &format!("{renamed}; {hint}"));
    project.call(&["down", "--execute"]).run().expect(0);
    // Now it is there, and empty.
    project.call(&["down"]).run().expect(0);
    project.database.batch("INSERT INTO s.t VALUES (1)").await;
    project.refused(&["down"], &format!("line 2 of 1_a.down.sql drops table s.t, which holds data; {hint}"));
    project.call(&["down", "--execute", "--lose-data"]).run().expect(0);
    assert!(!project.has("s.t").await);
}

#[tokio::test]
async fn rows_that_come_while_down_waits_are_not_lost() {
    for (layout, way_back) in
        [("migrate", "DROP TABLE notes;"), ("golang-migrate", "BEGIN;\nDROP TABLE notes;\nCOMMIT;")]
    {
        let project =
            Project::of(&[("1_notes.up.sql", "CREATE TABLE notes (id int);"), ("1_notes.down.sql", way_back)]).await;
        project.manifest(&format!("layout = \"{layout}\"\n"));
        project.call(&["up"]).run().expect(0);
        let mut application = project.database.session().await;
        let transaction = application.transaction().await.unwrap();
        transaction.batch_execute("INSERT INTO notes VALUES (1)").await.unwrap();
        let running = project.call(&["down", "--execute"]).start();
        project
            .database
            .wait_until("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'notes'::regclass)")
            .await;
        transaction.commit().await.unwrap();
        let finished = running.wait().expect(7);
        let message = "error: 1_notes.down.sql drops table public.notes, which holds data: it came while this was running; the file \
                       was rolled back; back up what is needed, then pass --lose-data\n";
        assert!(finished.stderr.ends_with(message), "{}", finished.stderr);
        assert_eq!((project.versions().await, project.has("notes").await), (vec![1], true));
        assert_eq!(project.database.value::<i64>("SELECT count(*) FROM notes").await, 1);
    }
}

#[tokio::test]
async fn a_kill_leaves_a_version_applied_and_recorded_or_neither() {
    let project = Project::applied(&[
        ("1_a.up.sql", "CREATE TABLE a (id int);"),
        ("1_a.down.sql", "DROP TABLE a;"),
        ("2_b.up.sql", "CREATE TABLE b (id int);"),
        ("2_b.down.sql", "DROP TABLE b;\nCREATE TABLE slow AS SELECT FROM pg_sleep(1.5);\nDROP TABLE slow;"),
        ("3_c.up.sql", "CREATE TABLE c (id int);"),
        ("3_c.down.sql", "DROP TABLE c;"),
    ])
    .await;
    let running = project.call(&["down", "--to", "0", "--execute"]).start();
    project
        .database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())",
        )
        .await;
    running.signal("KILL");
    running.wait();
    assert!(project.has("b").await && !project.has("c").await);
    assert_eq!(project.versions().await, [1, 2]);
    // The killed session may still hold its locks for as long as its statement lasts.
    project.call(&["down", "--to", "0", "--execute"]).run().expect(0);
    assert!(!project.has("a").await && !project.has("b").await);
    assert!(project.versions().await.is_empty());
}

#[tokio::test]
async fn a_concurrent_build_on_the_way_back_is_cleaned_up_and_built_again() {
    let project = Project::applied(&[
        ("1_a.up.sql", "CREATE TABLE a (id int);"),
        ("1_a.down.sql", "DROP TABLE a;"),
        ("2_b.up.sql", "-- migrate: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS a_id;"),
        ("2_b.down.sql", "-- migrate: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);"),
    ])
    .await;
    let shown = project.call(&["down"]).run().expect(0).stdout;
    assert!(shown.contains("2_b.down.sql, outside a transaction\n"), "{shown}");
    project.database.batch("INSERT INTO a VALUES (1), (1)").await;
    project.call(&["down", "--execute"]).run().expect(1);
    let invalid = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('a_id') AND NOT indisvalid)";
    // It would refuse rows for as long as it is there.
    assert!(!project.has("a_id").await, "a failed build leaves nothing");
    assert_eq!(project.versions().await, [1, 2]);
    let interrupted = project.database.session().await;
    interrupted.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id)").await.unwrap_err();
    assert!(project.database.value::<bool>(invalid).await);
    project.database.batch("TRUNCATE a").await;
    project.call(&["down", "--execute"]).run().expect(0);
    assert!(project.has("a_id").await && !project.database.value::<bool>(invalid).await);
    assert_eq!(project.versions().await, [1]);
}

#[tokio::test]
async fn one_step_asked_for_twice_at_once_is_one_step() {
    let slow = "ALTER TABLE notes DROP title;\nCREATE TABLE slow AS SELECT FROM pg_sleep(1);\nDROP TABLE slow;\n";
    let mut files = NOTES;
    files[5].1 = slow;
    let project = Project::applied(&files).await;
    let running: Vec<_> = (0..2).map(|_| project.call(&["down", "--execute"]).start()).collect();
    let outputs: Vec<_> = running.into_iter().map(|running| running.wait().expect(0).stdout).collect();
    assert_eq!(project.versions().await, [1, 2], "{outputs:?}");
    assert!(outputs.iter().any(|out| out == "nothing to take back: the database is at version 2\n"), "{outputs:?}");
}

#[tokio::test]
async fn down_is_told_as_json() {
    let project = Project::applied(&NOTES).await;
    let shown = project.call(&["down", "--format", "json"]).run().expect(0);
    let step = &shown.events("would_take_back")[0];
    assert_eq!((&step["version"], &step["file"]), (&3.into(), &"3_title.down.sql".into()));
    assert_eq!((&step["losses"], step.get("sql")), (&serde_json::json!([]), None));
    let planned = &shown.events("down_planned")[0];
    assert_eq!((&planned["current"], &planned["target"], &planned["migrations"]), (&3.into(), &2.into(), &1.into()));
    project.database.batch("INSERT INTO notes VALUES (1, 'a')").await;
    let refused = project.call(&["down", "--format", "json"]).run().expect(7);
    let expected = serde_json::json!([{"line": 1, "loses": "column", "table": "public.notes", "column": "title"}]);
    assert_eq!(refused.events("would_take_back")[0]["losses"], expected);
    assert_eq!(refused.events("error")[0]["exit_code"], 7);
    let done = project.call(&["down", "--lose-data", "--execute", "--format", "json"]).run().expect(0);
    assert_eq!(done.events("taken_back")[0]["version"], 3);
    assert_eq!(done.events("down_finished")[0]["version"], 2);
}

#[tokio::test]
async fn a_repeatable_that_needs_what_is_dropped_is_named() {
    let mut files = NOTES.to_vec();
    files.push(("R__views.sql", "CREATE OR REPLACE VIEW titles AS SELECT title FROM notes;"));
    let project = Project::applied(&files).await;
    let failed = project.call(&["down", "--execute"]).run().expect(1).stderr;
    assert!(failed.contains("\nerror: 3_title.down.sql failed and was rolled back\n"), "{failed}");
    assert!(failed.contains("view titles depends on column title"), "{failed}");
    assert!(failed.contains("R__views.sql makes what depends on it: let the way back drop it first"), "{failed}");
    assert_eq!(project.versions().await, [1, 2, 3]);
}

#[tokio::test]
async fn the_history_of_the_tool_goes_back_too() {
    let rows = "SELECT coalesce(string_agg(version::text, ',' ORDER BY version), '') FROM ";
    for (layout, table, after) in [
        ("sqlx", "_sqlx_migrations", ["1,2,3", "1,2", "1", ""]),
        ("golang-migrate", "schema_migrations", ["3", "2", "1", ""]),
    ] {
        let project = Project::of(&NOTES).await;
        project.write("1_users.up.sql", "CREATE TABLE users (id int PRIMARY KEY);\n");
        project.manifest(&format!("layout = \"{layout}\"\nkeep = true\n"));
        project.call(&["up"]).run().expect(0);
        let recorded = async || project.database.value::<String>(&format!("{rows}{table}")).await;
        assert_eq!(recorded().await, after[0], "{layout}");
        let shown = project.call(&["down"]).run().expect(0).stdout;
        assert!(shown.contains(&format!("        public.{table} records it, and then no longer does\n")), "{shown}");
        for expected in &after[1..] {
            project.call(&["down", "--execute"]).run().expect(0);
            assert_eq!(recorded().await, *expected, "{layout}");
        }
        project.call(&["up"]).run().expect(0);
        assert_eq!(recorded().await, after[0], "{layout}");
        // What the tool has applied goes out of its history even where it is not kept in step, or it would count as applied.
        project.database.batch("DROP SCHEMA migrate CASCADE").await;
        project.manifest(&format!("layout = \"{layout}\"\n"));
        project.call(&["down", "--execute"]).run().expect(0);
        assert_eq!(recorded().await, after[1], "{layout}");
        project.call(&["up"]).run().expect(0);
        assert_eq!(project.versions().await, [1, 2, 3], "{layout}");
    }
}

#[tokio::test]
async fn a_later_entry_of_the_tool_that_nobody_knows_stops_the_way_back() {
    let files = [
        ("1_a.sql", "-- +goose Up\nCREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n"),
        ("3_c.sql", "-- +goose Up\nCREATE TABLE c ();\n-- +goose Down\nDROP TABLE c;\n"),
    ];
    let project = Project::of(&files).await;
    project.manifest("layout = \"goose\"\nkeep = true\n");
    project.call(&["up"]).run().expect(0);
    project.database.batch("INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, true)").await;
    // It stays behind what is taken back.
    project.call(&["down"]).run().expect(0);
    let message = "V1 cannot be taken back: public.goose_db_version records 2 behind it, for which there is no file here; nothing was \
                   written; go back with the newer checkout that has the file";
    project.refused(&["down", "--to", "0", "--execute"], message);
    project.database.batch("UPDATE goose_db_version SET version_id = 4 WHERE version_id = 2").await;
    project.refused(&["down"], &message.replace("V1", "V3").replace("records 2", "records 4"));
}
