//! What is written into the history tables of other tools, down to the row, and taken back again.

use migrate::db::{Connection, Connector, Database};
use migrate::engine::tool::{self, RowState, Tool, ToolRow, ToolTable};
use migrate::engine::{Migration, Set};
use migrate::layout::{Layout, Options, Sources};
use tokio_util::sync::CancellationToken;

use crate::harness::TestDatabase;

/// A folder of a layout, read as that, and the history table of its tool.
struct Kept {
    database: TestDatabase,
    connection: Connection,
    table: ToolTable,
    set: Set,
}

impl Kept {
    async fn new(layout: Layout, files: &[(&str, &str)]) -> Self {
        Self::in_table(layout, files, false).await
    }

    async fn in_table(layout: Layout, files: &[(&str, &str)], is_wide: bool) -> Self {
        let sources = Sources::embedded("f", files.iter().copied());
        let folder = migrate::layout::read(&sources, layout, &Options::default()).unwrap();
        let set = Set::builder("app").folder(folder).build().unwrap();
        let tool = Tool::from_key(layout.key()).unwrap();
        assert_eq!(tool::cannot_keep(tool), None);
        let database = TestDatabase::empty().await;
        database.batch(&tool::create(&ToolTable::planned(tool, "public", None, is_wide))).await;
        let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
        let connection = connector.connect("history").await.unwrap();
        let table = tool::find_tool_tables(&connection, None).await.unwrap().remove(0);
        Self { database, connection, table, set }
    }

    fn migration(&self, at: usize) -> &Migration {
        &self.set.migrations()[at]
    }

    /// Records a migration as a run does: one message, after whatever the file has set.
    async fn insert(&self, at: usize) {
        let statement = tool::insert(&self.table, self.migration(at));
        for setting in ["off", "on"] {
            self.database
                .batch(&format!(
                    "SET search_path TO ''; SET standard_conforming_strings TO {setting}; SET datestyle TO 'German'; {statement}"
                ))
                .await;
        }
    }

    async fn delete(&self, at: usize, previous: Option<usize>) {
        let previous = previous.map(|previous| self.migration(previous));
        let statement = tool::delete(&self.table, self.migration(at), previous);
        self.database.batch(&format!("SET search_path TO ''; {statement}")).await;
    }

    async fn rows(&self) -> Vec<ToolRow> {
        tool::rows(&self.connection, &self.table).await.unwrap()
    }

    /// Entries with their states.
    async fn states(&self) -> Vec<(String, RowState)> {
        self.rows().await.into_iter().map(|row| (row.entry, row.state)).collect()
    }

    /// One row of the table, as a value of each column but these.
    async fn written(&self, but: &[&str]) -> Vec<String> {
        let sql = format!(
            "SELECT (pg_catalog.to_jsonb(t) - $1::text[])::text FROM {} t ORDER BY t::text COLLATE \"C\"",
            self.table.qualified
        );
        let rows = self.connection.query(&sql, &[&but]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Whether this holds for each row.
    async fn every(&self, condition: &str) -> bool {
        let sql = format!("SELECT pg_catalog.bool_and({condition}) FROM {}", self.table.qualified);
        self.connection.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Two versions, there and back, each recorded twice; the second has this row.
    async fn goes_there_and_back(&self, entries: [&str; 2], but: &[&str], second: &str) {
        let applied = |entry: &str| (entry.to_owned(), RowState::Applied);
        let [first_entry, second_entry] = entries;
        self.insert(0).await;
        self.insert(1).await;
        assert_eq!(self.states().await, entries.map(applied), "{second}");
        let written = self.written(but).await;
        assert!(written.contains(&second.to_owned()), "expected {second}\nfound {written:#?}");
        self.delete(1, Some(0)).await;
        assert_eq!(self.states().await, [applied(first_entry)]);
        self.insert(1).await;
        assert_eq!(self.states().await.len(), 2);
        self.delete(1, Some(0)).await;
        self.delete(0, None).await;
        assert_eq!(self.states().await, []);
        self.insert(1).await;
        assert_eq!(self.states().await, [applied(second_entry)]);
    }
}

const A: &str = "SELECT 1;\n";

#[tokio::test]
async fn sqlx_gets_its_row() {
    let kept = Kept::new(Layout::Sqlx, &[("1_a.sql", A), (r"20260101000000_it's_\new.sql", A)]).await;
    let sum = "24454095d8d7876c";
    kept.goes_there_and_back(
        ["1", "20260101000000"],
        &["checksum", "installed_on", "execution_time"],
        r#"{"success": true, "version": 20260101000000, "description": "it's \\new"}"#,
    )
    .await;
    let right = format!(
        "pg_catalog.encode(checksum, 'hex') LIKE '{sum}%' AND pg_catalog.length(checksum) = 48 AND execution_time > 0
         AND installed_on > pg_catalog.now() - interval '1 minute'"
    );
    assert!(kept.every(&right).await);
    let checksum = kept.rows().await[0].checksum.clone().unwrap();
    assert_eq!(checksum.len(), 96);
    // What is applied again has the checksum of its newest text.
    kept.database.batch(r"UPDATE _sqlx_migrations SET checksum = '\x00', description = 'old', success = false").await;
    kept.insert(1).await;
    assert!(kept.every(&format!("success AND description <> 'old' AND {right}")).await);
}

#[tokio::test]
async fn golang_migrate_has_one_row_and_no_gaps() {
    let files = [("1_a.up.sql", A), ("2_b.up.sql", A), ("10_c.up.sql", A)];
    let kept = Kept::new(Layout::GolangMigrate, &files).await;
    let up_to = |entry: &str| vec![(entry.to_owned(), RowState::UpTo)];
    for (at, entry) in ["1", "2", "10"].iter().enumerate() {
        kept.insert(at).await;
        assert_eq!(kept.states().await, up_to(entry));
    }
    kept.delete(2, Some(1)).await;
    assert_eq!(kept.states().await, up_to("2"));
    kept.delete(1, Some(0)).await;
    kept.delete(0, None).await;
    assert_eq!(kept.states().await, []);
}

#[tokio::test]
async fn tools_that_record_versions_get_them_as_they_are_written() {
    let dbmate = "-- migrate:up\nSELECT 1;\n-- migrate:down\n";
    let kept = Kept::new(Layout::Dbmate, &[("001_a.sql", dbmate), ("002_b.sql", dbmate)]).await;
    kept.goes_there_and_back(["001", "002"], &[], r#"{"version": "002"}"#).await;

    let kept = Kept::new(Layout::UpDown, &[("001_a.up.sql", A), ("001_it's.up.sql", A)]).await;
    kept.goes_there_and_back(["001_a", "001_it's"], &["applied_at"], r#"{"version": "001_it's"}"#).await;

    let files = [("2026-01-01-000000_a/up.sql", A), ("2026-01-01-000001_b/up.sql", A)];
    let kept = Kept::new(Layout::Diesel, &files).await;
    let row = r#"{"version": "20260101000001"}"#;
    kept.goes_there_and_back(["20260101000000", "20260101000001"], &["run_on"], row).await;
}

#[tokio::test]
async fn goose_gets_its_row_and_loses_all_of_a_version() {
    let goose = "-- +goose Up\nSELECT 1;\n";
    let kept = Kept::new(Layout::Goose, &[("00001_a.sql", goose), ("00002_b.sql", goose)]).await;
    let row = r#"{"is_applied": true, "version_id": 2}"#;
    kept.goes_there_and_back(["1", "2"], &["id", "tstamp"], row).await;
    // Rows of an older goose, which wrote one for a way back, too.
    kept.database.batch("INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, false), (1, false)").await;
    kept.insert(0).await;
    let expected = [("2".to_owned(), RowState::RolledBack), ("1".to_owned(), RowState::Applied)];
    assert_eq!(kept.states().await, expected);
    kept.delete(0, None).await;
    kept.delete(1, None).await;
    assert_eq!(kept.written(&["id", "tstamp"]).await, [r#"{"is_applied": true, "version_id": 0}"#]);
}

#[tokio::test]
async fn refinery_gets_the_checksum_of_its_build() {
    for (is_wide, sum) in [(false, "15641188318147896532"), (true, "8989450061852536159")] {
        let kept = Kept::in_table(Layout::Refinery, &[("V1__a.sql", A), ("V2__b.sql", A)], is_wide).await;
        kept.insert(0).await;
        let row = format!(r#"{{"name": "a", "version": 1, "checksum": "{sum}"}}"#);
        assert_eq!(kept.written(&["applied_on"]).await, [row]);
        assert!(kept.every(r"applied_on ~ '^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$'").await);
        assert!(kept.rows().await[0].at.is_some());
        kept.delete(0, None).await;
        if is_wide {
            // That of a version of eight bytes is this program's own.
            let row = format!(r#"{{"name": "b", "version": 2, "checksum": "{}"}}"#, kept.migration(1).checksum());
            kept.goes_there_and_back(["1", "2"], &["applied_on"], &row).await;
        }
    }
}

#[tokio::test]
async fn flyway_gets_events() {
    let files = [("V1_0__a.sql", A), ("sub/V2.1__it's_b.sql", A), ("B3__all.sql", A), ("R__views.sql", A)];
    let kept = Kept::new(Layout::Flyway, &files).await;
    let but = &["installed_by", "installed_on", "execution_time"];
    kept.goes_there_and_back(
        ["1.0", "2.1"],
        but,
        r#"{"type": "SQL", "script": "sub/V2.1__it's_b.sql", "success": true, "version": "2.1", "checksum": 78787420, "description": "it's b", "installed_rank": 2}"#,
    )
    .await;
    assert!(kept.every("installed_by = current_user AND execution_time >= 0").await);
    let undone = r#"{"type": "UNDO_SQL", "script": "sub/V2.1__it's_b.sql", "success": true, "version": "2.1", "checksum": null, "description": "it's b", "installed_rank": 3}"#;
    assert!(kept.written(but).await.contains(&undone.to_owned()), "{:#?}", kept.written(but).await);
    // A second undo changes nothing, and a changed text is a new event.
    kept.delete(0, None).await;
    let before = kept.written(but).await.len();
    kept.delete(0, None).await;
    assert_eq!(kept.written(but).await.len(), before);
    kept.insert(2).await;
    let states = kept.states().await;
    assert_eq!(states, [("2.1".to_owned(), RowState::Applied), ("3".to_owned(), RowState::UpTo)]);
    for checksum in ["1", "-2"] {
        let statement = tool::insert_repeatable(&kept.table, "R__views.sql", "views", Some(checksum)).unwrap();
        kept.database.batch(&statement).await;
    }
    let row = kept.rows().await.pop().unwrap();
    assert_eq!((row.entry.as_str(), row.checksum.as_deref(), row.state), ("views", Some("-2"), RowState::Repeatable));
    let other = ToolTable::planned(Tool::Sqlx, "public", None, false);
    assert_eq!(tool::insert_repeatable(&other, "R__views.sql", "views", None), None);
}

#[tokio::test]
async fn flyway_shortens_what_its_columns_cannot_hold() {
    let (folder, name) = ("ä".repeat(900), "n".repeat(230));
    let path = format!("{folder}/V1__{name}.sql");
    let kept = Kept::new(Layout::Flyway, &[(&path, A)]).await;
    kept.insert(0).await;
    let written = kept.written(&["installed_by", "installed_on", "execution_time"]).await.remove(0);
    let description = format!("{}...", "n".repeat(197));
    assert!(written.contains(&format!(r#""description": "{description}""#)), "{written}");
    assert!(kept.every("pg_catalog.length(script) = 1000 AND script LIKE '...%__nnn%.sql'").await, "{written}");
}

#[tokio::test]
async fn prisma_gets_a_finished_attempt_and_keeps_it_as_rolled_back() {
    let files = [("20260101000000_a/migration.sql", A), ("20260102000000_it's/migration.sql", A)];
    let kept = Kept::new(Layout::Prisma, &files).await;
    let but = &["id", "started_at", "finished_at", "checksum"];
    kept.goes_there_and_back(
        ["20260101000000_a", "20260102000000_it's"],
        but,
        r#"{"logs": null, "migration_name": "20260102000000_it's", "rolled_back_at": null, "applied_steps_count": 1}"#,
    )
    .await;
    let right = "checksum LIKE 'b4e0497804e46e0a%' AND id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]{21}$' AND started_at <= finished_at";
    assert!(kept.every(right).await);
    // Four were taken back, and one is applied.
    assert_eq!(kept.written(&[]).await.len(), 4);
    let rolled_back: i64 =
        kept.database.value("SELECT count(*) FROM _prisma_migrations WHERE rolled_back_at IS NOT NULL").await;
    assert_eq!(rolled_back, 3);
}

#[tokio::test]
async fn drizzle_gets_the_time_of_its_journal() {
    let journal = r#"{"version": "7", "dialect": "postgresql", "entries": [
        {"idx": 0, "version": "7", "when": 1700000000000, "tag": "0000_a", "breakpoints": true},
        {"idx": 1, "version": "7", "when": 1700000000001, "tag": "0001_b", "breakpoints": true}]}"#;
    let files = [("0000_a.sql", A), ("0001_b.sql", A), ("meta/_journal.json", journal)];
    let kept = Kept::new(Layout::Drizzle, &files).await;
    let up_to = |entry: &str| vec![(entry.to_owned(), RowState::UpTo)];
    kept.insert(0).await;
    kept.insert(1).await;
    assert_eq!(kept.states().await, up_to("1700000000001"));
    assert_eq!(
        kept.written(&["id", "hash"]).await,
        [r#"{"created_at": 1700000000000}"#, r#"{"created_at": 1700000000001}"#]
    );
    assert!(kept.every("hash LIKE 'b4e0497804e46e0a%' AND pg_catalog.length(hash) = 64").await);
    kept.delete(1, Some(0)).await;
    assert_eq!(kept.states().await, up_to("1700000000000"));
    kept.delete(0, None).await;
    assert_eq!(kept.states().await, []);

    let files = [("20260101000000_a/migration.sql", A), ("20260101000001_it's/migration.sql", A)];
    let kept = Kept::new(Layout::DrizzleFolders, &files).await;
    kept.goes_there_and_back(
        ["20260101000000_a", "20260101000001_it's"],
        &["id", "hash", "applied_at"],
        r#"{"name": "20260101000001_it's", "created_at": 1767225601000}"#,
    )
    .await;
    assert!(kept.every("hash LIKE 'b4e0497804e46e0a%' AND applied_at IS NOT NULL").await);
}

#[tokio::test]
async fn supabase_gets_the_statements_with_their_comments() {
    let text = "-- One; two\nSELECT 'it''s; \\';\n\n;; /* c */ SELECT 2;\n-- the end\n";
    let kept = Kept::new(Layout::Supabase, &[("001_a.sql", A), ("002_b.sql", text)]).await;
    let row = r#"{"name": "b", "version": "002", "statements": ["-- One; two\nSELECT 'it''s; \\'", "/* c */ SELECT 2", "-- the end"]}"#;
    kept.goes_there_and_back(["001", "002"], &[], row).await;
}

#[tokio::test]
async fn atlas_gets_the_number_of_statements_and_its_sum() {
    let sums = "h1:R8i6B/2bLzn4yRfl2j/z896HUws6iLLsZvoSsr+opXQ=\n\
        1_a.sql h1:oHx7vmeRbxB72kdSGUkFhE08red3y82zeqcbzCxkGjo=\n\
        2_it's.sql h1:01now4hRAsHwXQZG6f7ED6M37wkIUpCXZR5dVAt474Y=\n";
    let files = [("1_a.sql", A), ("2_it's.sql", "SELECT 1; SELECT 2;"), ("atlas.sum", sums)];
    let kept = Kept::new(Layout::Atlas, &files).await;
    kept.goes_there_and_back(
        ["1", "2"],
        &["executed_at", "execution_time"],
        r#"{"hash": "01now4hRAsHwXQZG6f7ED6M37wkIUpCXZR5dVAt474Y=", "type": 2, "error": "", "total": 2, "applied": 2, "version": "2", "error_stmt": "", "description": "it's", "partial_hashes": null, "operator_version": "migrate"}"#,
    )
    .await;
    assert!(kept.every("execution_time > 0 AND executed_at > pg_catalog.now() - interval '1 minute'").await);
}
