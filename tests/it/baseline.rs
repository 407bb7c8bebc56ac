//! `migrate up --baseline VERSION`: a database that nobody has recorded.

use std::path::{Path, PathBuf};

use crate::harness::{Program, TestDatabase};

/// A database where somebody has run the first two of three files, and the folder.
struct Project {
    database: TestDatabase,
    folder: PathBuf,
}

impl Project {
    async fn built() -> Self {
        let project = Self::empty().await;
        project.database.batch("CREATE TABLE users (id int); CREATE TABLE notes (id int)").await;
        project
    }

    async fn empty() -> Self {
        let database = TestDatabase::empty().await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("baseline-{}", database.name));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("sql")).unwrap();
        for (path, text) in [
            ("1_users.sql", "CREATE TABLE users (id int);\n"),
            ("2_notes.sql", "CREATE TABLE notes (id int);\n"),
            ("3_title.sql", "ALTER TABLE notes ADD title text;\n"),
        ] {
            std::fs::write(folder.join("sql").join(path), text).unwrap();
        }
        Self { database, folder }
    }

    fn manifest(&self, more: &str) {
        std::fs::write(self.folder.join("migrate.toml"), format!("[set.main]\ndir = \"sql\"\n{more}")).unwrap();
    }

    fn up(&self, args: &[&str]) -> Program {
        let dir = ["up", "--dir", "sql"];
        self.database.program().current_dir(&self.folder).args(dir).args(args.iter().copied())
    }

    #[track_caller]
    fn refused(&self, args: &[&str], message: &str) {
        assert_eq!(self.up(args).run().expect(7).told(), format!("error: {message}\n"));
    }

    async fn history(&self) -> Vec<(i64, bool)> {
        let rows = self.database.rows("SELECT version, adopted FROM migrate.history_main ORDER BY version", &[]).await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

#[tokio::test]
async fn a_baseline_is_recorded_and_the_rest_applied() {
    let project = Project::built().await;
    project.manifest("layout = \"migrate\"\n");
    let shown = project.up(&["--baseline", "2", "--dry-run"]).run().expect(0).stdout;
    let line = "  base  V1 to V2                                       recorded as applied, not run\n";
    assert!(shown.contains(line), "{shown}");
    assert!(shown.contains("  V3    title"), "{shown}");
    assert!(!project.database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
    let json = project.up(&["--baseline", "2", "--dry-run", "--format", "json"]).run().expect(0);
    assert_eq!(json.events("would_baseline")[0]["versions"].as_array().unwrap().len(), 2);
    let done = project.up(&["--baseline", "2_notes"]).run().expect(0).stdout;
    assert!(done.contains(line), "{done}");
    assert_eq!(project.history().await, [(1, true), (2, true), (3, false)]);
    project.refused(
        &["--baseline", "2"],
        "the database has a history already: it is at version 3; nothing was written; run migrate --dir sql up without --baseline: \
         it continues that history",
    );
    project.up(&[]).run().expect(0);
}

#[tokio::test]
async fn a_baseline_is_refused_where_it_cannot_be_meant() {
    let project = Project::empty().await;
    project.manifest("layout = \"migrate\"\n");
    let name = project.database.name.clone();
    project.refused(
        &["--baseline", "2"],
        &format!(
            "database {name} has no tables, so no version is applied there; nothing was written; is this the right database? To build \
             it, run migrate --dir sql up without --baseline"
        ),
    );
    project.database.batch("CREATE TABLE users (id int)").await;
    project.refused(
        &["--baseline", "9"],
        "there is no version 9 to begin behind: the latest is 3; nothing was written; give the number or name of the last version \
         that is applied",
    );
    assert!(!project.database.value::<bool>("SELECT to_regnamespace('migrate') IS NOT NULL").await);
}

#[tokio::test]
async fn a_baseline_is_written_into_the_tool_s_history_where_that_is_kept() {
    let project = Project::built().await;
    project.manifest("layout = \"sqlx\"\nkeep = true\n");
    project.up(&["--baseline", "2"]).run().expect(0);
    assert_eq!(project.history().await, [(1, true), (2, true), (3, false)]);
    let recorded: String =
        project.database.value("SELECT string_agg(version::text, ',' ORDER BY version) FROM _sqlx_migrations").await;
    assert_eq!(recorded, "1,2,3");
    project.up(&[]).run().expect(0);
    project.database.batch("DROP SCHEMA migrate CASCADE").await;
    project.refused(
        &["--baseline", "2"],
        "the database has a history already: it is at version 3; nothing was written; run migrate --dir sql up without --baseline: \
         it continues that history",
    );
}
