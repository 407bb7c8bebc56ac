//! What every repair must keep to: a corrected row no longer meets the rule.

use async_trait::async_trait;
use migrate::CancellationToken;
use migrate::cli::Content as _;
use migrate::db::Database;
use migrate::platform::{PLATFORM, Platform};
use migrate::repair::{Column, Executed, Pacing, Repair, Repairer, Repairs, Rows};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::overcounted;
use crate::harness::TestDatabase;

/// Output that was counted four times; so its author thinks. What is left is over the limit as well, in many rows.
#[derive(clap::Args, Serialize, Deserialize)]
struct Quarter {}

#[async_trait]
impl Repair for Quarter {
    fn name() -> &'static str {
        "quarter"
    }

    fn about() -> &'static str {
        "Divide output by four"
    }

    fn rows() -> Rows {
        let output = Column::new("output_tokens", "bigint");
        Rows {
            stamps: vec!["updated_at"],
            ..Rows::new("task_usage", Column::new("id", "uuid"), "created_at", output, "u.output_tokens / 4")
        }
    }

    fn eligible(&self) -> String {
        "u.output_tokens > 200".to_owned()
    }
}

fn repairer(database: &TestDatabase, repairs: Repairs) -> Repairer {
    let database = Database::from_url(&database.url).unwrap();
    Repairer::new(PLATFORM, repairs, database, CancellationToken::new(), |_| {})
}

#[tokio::test]
async fn a_rule_that_does_not_converge_is_refused() {
    let database = overcounted(200).await;
    database.batch("UPDATE task_usage SET output_tokens = 1600 WHERE output_tokens > 100").await;
    let before: i64 = database.value("SELECT sum(output_tokens)::bigint FROM task_usage").await;
    let repairer = repairer(&database, Repairs::new().with::<Quarter>());
    let pacing = Pacing::default();
    let looked = repairer.look("quarter", &json!({}), &pacing, &mut |_, _| {}).await.map(|_| ());
    let executed = repairer.execute("quarter", &json!({}), None, &pacing).await.map(|_| ());
    for refused in [looked, executed] {
        let said = refused.unwrap_err().to_string();
        assert!(said.starts_with("the rule of quarter does not converge: "), "{said}");
        assert!(said.contains("for example id "), "{said}");
    }
    let after: i64 = database.value("SELECT sum(output_tokens)::bigint FROM task_usage").await;
    assert_eq!(after, before);
    // Where every row comes out below the limit, it is as good as any.
    database.batch("UPDATE task_usage SET output_tokens = 700 WHERE output_tokens > 200").await;
    let Executed::Done(_, repaired) = repairer.execute("quarter", &json!({}), None, &pacing).await.unwrap() else {
        panic!("there is something to do");
    };
    assert!(repaired.totals.rows > 0 && !repaired.had_to_leave());
}

/// For every repair that this program brings: SQL that writes wrong rows, and flags that find them. Add a new one here.
fn tried_with(name: &str, now: &str) -> (&'static str, Value) {
    match name {
        "codex-cache" => ("", json!({ "cutoff": now, "workspace_id": null })),
        name => panic!("add to tried_with in {}: rows and flags to try {name} with", file!()),
    }
}

/// It fails until there are rows to try a new repair with.
#[tokio::test]
async fn every_repair_converges_and_can_be_undone() {
    let database = overcounted(300).await;
    let repairs = Platform.repairs();
    let names: Vec<_> = repairs.list().filter(|listed| listed.rows.is_some()).map(|listed| listed.repair).collect();
    assert!(!names.is_empty());
    let repairer = repairer(&database, repairs);
    for name in names {
        let now: String =
            database.value("SELECT to_json(date_trunc('second', now() AT TIME ZONE 'UTC')) #>> '{}' || 'Z'").await;
        let (wrong, arguments) = tried_with(name, &now);
        database.batch(wrong).await;
        let before = database.fingerprint().await;
        let execute = || async { repairer.execute(name, &arguments, None, &Pacing::default()).await.unwrap() };
        let Executed::Done(found, repaired) = execute().await else { panic!("{name} finds nothing") };
        assert!(found.totals.rows > 0 && !repaired.had_to_leave(), "{name}");
        // By the rule alone, without a journal that would know them.
        database.batch("CREATE TABLE kept AS TABLE migrate.repair_change; TRUNCATE migrate.repair_change").await;
        let again = repairer.look(name, &arguments, &Pacing::default(), &mut |_, _| {}).await.unwrap();
        assert_eq!(again.totals.rows, 0, "{name} finds rows that it has corrected");
        database.batch("INSERT INTO migrate.repair_change TABLE kept; DROP TABLE kept").await;
        repairer.undo(repaired.run, None, &Pacing::default()).await.unwrap();
        assert_eq!(database.fingerprint().await, before, "{name}");
    }
}
