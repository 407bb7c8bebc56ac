//! What the history tables of other tools say, by each tool's own rules.

use migrate::db::{Connection, Connector, Database};
use migrate::engine::tool::{self, RowState, Tool, ToolRow, ToolTable};
use time::macros::datetime;
use tokio_util::sync::CancellationToken;

use crate::harness::TestDatabase;

/// A tool's table in a database of its own, made as the tool makes it.
struct History {
    database: TestDatabase,
    connection: Connection,
    table: ToolTable,
}

impl History {
    async fn of(tool: Tool) -> Self {
        Self::made(ToolTable::planned(tool, "public", None, false)).await
    }

    async fn made(planned: ToolTable) -> Self {
        let database = TestDatabase::empty().await;
        let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
        let connection = connector.connect("history").await.unwrap();
        // Twice: what is there stays as it is.
        for _ in 0..2 {
            database.batch(&tool::create(&planned)).await;
        }
        if planned.tool == Tool::Rails {
            database.batch("CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY)").await;
        }
        let named = format!("{}.{}", migrate::db::ident(&planned.schema), migrate::db::ident(&planned.table));
        let mut found = tool::find_tool_tables(&connection, Some(&named)).await.unwrap();
        assert_eq!(found.len(), 1, "{found:#?}");
        Self { database, connection, table: found.remove(0) }
    }

    async fn insert(&self, columns: &str, values: &str) {
        let table = &self.table.qualified;
        self.database.batch(&format!("INSERT INTO {table} ({columns}) VALUES {values}")).await;
    }

    async fn rows(&self) -> Vec<ToolRow> {
        tool::rows(&self.connection, &self.table).await.unwrap()
    }

    /// Entries with their states.
    async fn states(&self) -> Vec<(String, RowState)> {
        self.rows().await.into_iter().map(|row| (row.entry, row.state)).collect()
    }
}

fn states<const N: usize>(expected: [(&str, RowState); N]) -> Vec<(String, RowState)> {
    expected.into_iter().map(|(entry, state)| (entry.to_owned(), state)).collect()
}

fn row(entry: &str, state: RowState) -> ToolRow {
    ToolRow { entry: entry.to_owned(), described_as: None, checksum: None, at: None, state }
}

#[tokio::test]
async fn a_table_that_we_make_is_told_as_the_tools() {
    for tool in Tool::ALL {
        let history = History::of(tool).await;
        assert_eq!(history.table.tool, tool);
        assert_eq!(history.rows().await, [], "{tool}");
        let planned = ToolTable::planned(tool, "public", None, false);
        for column in &planned.columns {
            assert!(history.table.columns.contains(column), "{tool}: {column}: {:?}", history.table.columns);
        }
    }
}

#[tokio::test]
async fn a_table_can_be_called_anything() {
    for (tool, is_wide) in [(Tool::Flyway, false), (Tool::Refinery, true), (Tool::Drizzle, false)] {
        let mut planned = ToolTable::planned(tool, "My \"App", Some("the 'steps'"), is_wide);
        planned.schema = "My \"App".to_owned();
        planned.qualified = "\"My \"\"App\".\"the 'steps'\"".to_owned();
        let database = TestDatabase::empty().await;
        database.batch("CREATE SCHEMA \"My \"\"App\"").await;
        database.batch(&tool::create(&planned)).await;
        let connector = Connector::new(Database::from_url(&database.url).unwrap(), CancellationToken::new());
        let connection = connector.connect("history").await.unwrap();
        let found = tool::find_tool_tables(&connection, Some(&planned.qualified)).await.unwrap();
        assert_eq!((found.len(), found[0].tool, &found[0].qualified), (1, tool, &planned.qualified));
        assert_eq!(tool::rows(&connection, &found[0]).await.unwrap(), []);
        if tool == Tool::Refinery {
            assert!(found[0].columns.contains(&"version bigint".to_owned()));
        }
    }
}

#[tokio::test]
async fn sqlx_has_a_row_a_version() {
    let history = History::of(Tool::Sqlx).await;
    let columns = "version, description, success, checksum, installed_on, execution_time";
    history
        .insert(
            columns,
            r"(10, 'b', false, '\xAB', 'infinity', -1), (2, 'it''s a', true, '\x00ff', '2026-01-02 03:04Z', 1)",
        )
        .await;
    let [two, ten] = &history.rows().await[..] else { panic!() };
    assert_eq!((two.entry.as_str(), two.described_as.as_deref()), ("2", Some("it's a")));
    assert_eq!((two.checksum.as_deref(), two.state), (Some("00ff"), RowState::Applied));
    assert_eq!(two.at, Some(datetime!(2026-01-02 3:04 UTC)));
    assert_eq!((ten.checksum.as_deref(), ten.at, ten.state), (Some("ab"), None, RowState::Failed));
}

#[tokio::test]
async fn golang_migrate_has_one_row_for_all() {
    let history = History::of(Tool::GolangMigrate).await;
    history.insert("version, dirty", "(20260101000000, false)").await;
    assert_eq!(history.rows().await, [row("20260101000000", RowState::UpTo)]);
    history.database.batch("UPDATE schema_migrations SET dirty = true, version = -1").await;
    assert_eq!(history.rows().await, [row("-1", RowState::Dirty)]);
}

#[tokio::test]
async fn dbmate_rails_and_ecto_have_versions_only() {
    for tool in [Tool::Dbmate, Tool::Rails] {
        let history = History::of(tool).await;
        history.insert("version", "('002'), ('001')").await;
        assert_eq!(history.rows().await, [row("001", RowState::Applied), row("002", RowState::Applied)]);
    }
    let history = History::of(Tool::Ecto).await;
    history.insert("version, inserted_at", "(1, NULL)").await;
    assert_eq!(history.rows().await, [row("1", RowState::Applied)]);
}

#[tokio::test]
async fn times_that_no_calendar_has_are_left_out() {
    for (tool, columns) in [(Tool::UpDown, "version, applied_at"), (Tool::Diesel, "version, run_on")] {
        let history = History::of(tool).await;
        let values = "('1', 'infinity'), ('2', '-infinity'), ('3', '0044-03-15 BC'), ('4', '290000-01-01'), ('5', '2026-01-02 03:04+00')";
        history.insert(columns, values).await;
        let at: Vec<_> = history.rows().await.into_iter().map(|row| row.at).collect();
        assert_eq!(at, [None, None, None, None, Some(datetime!(2026-01-02 3:04 UTC))], "{tool}");
    }
}

#[tokio::test]
async fn gooses_newest_row_of_a_version_rules() {
    let history = History::of(Tool::Goose).await;
    assert_eq!(history.database.value::<i64>("SELECT count(*) FROM goose_db_version WHERE version_id = 0").await, 1);
    history
        .insert("version_id, is_applied", "(1, true), (3, true), (2, true), (3, false), (2, false), (2, true)")
        .await;
    let expected = [("1", RowState::Applied), ("3", RowState::RolledBack), ("2", RowState::Applied)];
    assert_eq!(history.states().await, states(expected));
}

#[tokio::test]
async fn refinerys_time_is_text() {
    for is_wide in [false, true] {
        let history = History::made(ToolTable::planned(Tool::Refinery, "public", None, is_wide)).await;
        let values = "(1, 'a', '2026-01-02T03:04:05.123456789Z', '18446744073709551615'), (2, NULL, 'yesterday', NULL)";
        history.insert("version, name, applied_on, checksum", values).await;
        let [one, two] = &history.rows().await[..] else { panic!() };
        assert_eq!(one.at, Some(datetime!(2026-01-02 3:04:05.123456789 UTC)));
        assert_eq!((one.described_as.as_deref(), one.checksum.as_deref()), (Some("a"), Some("18446744073709551615")));
        assert_eq!(*two, row("2", RowState::Applied));
    }
}

#[tokio::test]
async fn flyways_newest_event_of_a_version_rules() {
    let history = History::of(Tool::Flyway).await;
    let columns = "installed_rank, version, description, type, script, checksum, installed_by, execution_time, success";
    let event = |rank: i32, version: &str, description: &str, kind: &str, checksum: &str, success: bool| {
        format!("({rank}, {version}, '{description}', '{kind}', 's', {checksum}, 'me', 0, {success})")
    };
    let events = [
        event(0, "NULL", "<< Flyway Schema Creation >>", "SCHEMA", "NULL", true),
        event(1, "'1'", "<< Flyway Baseline >>", "BASELINE", "NULL", true),
        event(2, "'1.1'", "a", "SQL", "-5", true),
        event(3, "'1.2'", "b", "SQL", "6", true),
        event(4, "NULL", "views", "SQL", "7", true),
        event(5, "'1.2'", "b", "UNDO_SQL", "NULL", true),
        event(6, "'01_1.0'", "a", "SQL", "8", true),
        event(7, "NULL", "views", "SQL", "9", true),
        event(8, "NULL", "gone", "SQL", "9", true),
        event(9, "NULL", "gone", "DELETE", "9", true),
        event(10, "'2'", "c", "SQL", "10", false),
        event(11, "'3'", "d", "SQL", "11", true),
        event(12, "'3'", "d", "DELETE", "11", true),
        event(13, "'10'", "e", "SQL_BASELINE", "12", true),
        event(14, "NULL", "broken", "SQL", "13", false),
        event(15, "'0'", "zero", "SQL", "14", true),
    ];
    history.insert(columns, &events.join(", ")).await;
    let rows = history.rows().await;
    let expected = [
        ("1", RowState::UpTo),
        ("01_1.0", RowState::Applied),
        ("views", RowState::Repeatable),
        ("2", RowState::Failed),
        ("10", RowState::UpTo),
        ("broken", RowState::Failed),
        ("0", RowState::Applied),
    ];
    let told: Vec<_> = rows.iter().map(|row| (row.entry.clone(), row.state)).collect();
    assert_eq!(told, states(expected));
    assert_eq!(rows[1].checksum.as_deref(), Some("8"));
    assert_eq!((rows[2].checksum.as_deref(), rows[2].described_as.as_deref()), (Some("9"), Some("views")));
    assert!(rows[1].at.is_some());
}

#[tokio::test]
async fn prisma_counts_a_finished_attempt_and_stops_at_an_open_one() {
    let history = History::of(Tool::Prisma).await;
    let columns = "id, checksum, migration_name, started_at, finished_at, rolled_back_at";
    let attempt = |id: i32, name: &str, day: i32, finished: &str, rolled_back: &str| {
        format!("('{id}', 'sum{id}', '{name}', '2026-01-{day:02}', {finished}, {rolled_back})")
    };
    let attempts = [
        attempt(1, "1_a", 1, "'2026-01-02 03:04Z'", "NULL"),
        // A second attempt after the first was marked as rolled back.
        attempt(2, "2_b", 2, "NULL", "now()"),
        attempt(3, "2_b", 3, "now()", "NULL"),
        attempt(4, "3_c", 4, "now()", "now()"),
        attempt(5, "4_d", 5, "NULL", "NULL"),
        attempt(6, "4_d", 6, "NULL", "now()"),
        // Applied, and then tried once more.
        attempt(7, "5_e", 7, "now()", "NULL"),
        attempt(8, "5_e", 8, "NULL", "NULL"),
        attempt(9, "6_f", 9, "'infinity'", "NULL"),
    ];
    history.insert(columns, &attempts.join(", ")).await;
    let rows = history.rows().await;
    let expected = [
        ("1_a", RowState::Applied),
        ("2_b", RowState::Applied),
        ("4_d", RowState::Failed),
        ("5_e", RowState::Failed),
        ("6_f", RowState::Applied),
    ];
    let told: Vec<_> = rows.iter().map(|row| (row.entry.clone(), row.state)).collect();
    assert_eq!(told, states(expected));
    assert_eq!(rows[0].at, Some(datetime!(2026-01-02 3:04 UTC)));
    assert_eq!((rows[1].checksum.as_deref(), rows[4].at), (Some("sum3"), None));
}

#[tokio::test]
async fn drizzle_looks_at_the_youngest_only_and_then_at_names() {
    let history = History::of(Tool::Drizzle).await;
    history.insert("hash, created_at", "('a', 1), ('c', 1700000000000), ('b', 2), ('d', NULL)").await;
    assert_eq!(history.rows().await, [row("1700000000000", RowState::UpTo)]);

    let history = History::of(Tool::DrizzleFolders).await;
    let values = "('b', 2, '2_b', NULL), ('a', 1, '1_a', '2026-01-02 03:04Z'), ('c', 3, NULL, NULL)";
    history.insert("hash, created_at, name, applied_at", values).await;
    let [two, one] = &history.rows().await[..] else { panic!() };
    assert_eq!(*two, row("2_b", RowState::Applied));
    assert_eq!((one.entry.as_str(), one.at), ("1_a", Some(datetime!(2026-01-02 3:04 UTC))));
}

#[tokio::test]
async fn supabase_may_have_names() {
    let history = History::of(Tool::Supabase).await;
    history.insert("version, name", "('2', NULL), ('1', 'a')").await;
    let [one, two] = &history.rows().await[..] else { panic!() };
    assert_eq!((one.entry.as_str(), one.described_as.as_deref()), ("1", Some("a")));
    assert_eq!(*two, row("2", RowState::Applied));
    // As its first versions made it.
    let table = &history.table.qualified;
    history.database.batch(&format!("ALTER TABLE {table} DROP COLUMN name, DROP COLUMN statements")).await;
    let found = tool::find_tool_tables(&history.connection, None).await.unwrap();
    assert_eq!(found[0].tool, Tool::Supabase);
    assert_eq!(tool::rows(&history.connection, &found[0]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn atlas_counts_statements() {
    let history = History::of(Tool::Atlas).await;
    let columns =
        "version, description, type, applied, total, executed_at, execution_time, error, hash, operator_version";
    let values = "('.atlas_cloud_identifier', 'uuid', 2, 0, 0, now(), 0, NULL, '', 'Atlas CLI'),
        ('1', 'base', 1, 0, 0, '2026-01-02 03:04Z', 0, '', '', 'Atlas CLI'),
        ('10', 'b', 2, 2, 2, 'infinity', 1, '', 'h1', 'Atlas CLI'),
        ('2', 'a', 2, 2, 2, now(), 1, NULL, 'h2', 'Atlas CLI'),
        ('3', 'set', 6, 0, 0, now(), 1, '', 'h3', 'Atlas CLI'),
        ('4', 'c', 2, 1, 2, now(), 1, 'no such table', 'h4', 'Atlas CLI')";
    history.insert(columns, values).await;
    let rows = history.rows().await;
    let expected = [
        ("1", RowState::UpTo),
        ("10", RowState::Applied),
        ("2", RowState::Applied),
        ("3", RowState::Applied),
        ("4", RowState::Failed),
    ];
    let told: Vec<_> = rows.iter().map(|row| (row.entry.clone(), row.state)).collect();
    assert_eq!(told, states(expected));
    assert_eq!((rows[0].at, rows[1].at), (Some(datetime!(2026-01-02 3:04 UTC)), None));
    assert_eq!((rows[1].checksum.as_deref(), rows[1].described_as.as_deref()), (Some("h1"), Some("b")));
}
