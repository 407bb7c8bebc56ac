//! The typed queries: what the application writes and reads.

use migrate::CancellationToken;
use migrate::db::{Connection, Connector, Database};
use migrate::platform::usage::{self, Cost, IssueUsage, TaskUsage, Tokens};
use time::{Duration, OffsetDateTime};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::harness::{TestDatabase, latest};

async fn connect(database: &TestDatabase) -> Connection {
    let database = Database::from_url(&database.url).unwrap();
    Connector::new(database, CancellationToken::new()).connect("test").await.unwrap()
}

async fn id(connection: &Connection, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Uuid {
    connection.query_one(sql, params).await.unwrap().get(0)
}

fn tokens(input: i64) -> Tokens {
    Tokens { input, output: 2 * input, cache_read: 3 * input, cache_write: 4 * input }
}

#[tokio::test]
async fn an_upsert_replaces_the_counts_and_keeps_the_time_of_creation() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.write_usage(10, 1).await;
    database.batch("TRUNCATE task_usage CASCADE").await;
    let connection = connect(&database).await;
    let task = id(&connection, "SELECT id FROM agent_task_queue ORDER BY id LIMIT 1", &[]).await;
    let usage = |model: &str, input| TaskUsage {
        task_id: task,
        provider: "codex".to_owned(),
        model: model.to_owned(),
        tokens: tokens(input),
        cost_usd_ticks: None,
    };
    usage::upsert(&connection, &usage("b", 5)).await.unwrap();
    usage::upsert(&connection, &usage("a", 1)).await.unwrap();
    let before = usage::of_task(&connection, task).await.unwrap();
    usage::upsert(&connection, &usage("b", 3)).await.unwrap();
    let after = usage::of_task(&connection, task).await.unwrap();
    let models: Vec<&str> = after.iter().map(|row| row.usage.model.as_str()).collect();
    assert_eq!(models, ["a", "b"]);
    assert_eq!(after[1].usage, usage("b", 3));
    assert_eq!(after[1].created_at, before[1].created_at);
    assert!(after[1].updated_at > before[1].updated_at);
    assert_eq!(after[0], before[0]);
    assert!(usage::of_task(&connection, Uuid::nil()).await.unwrap().is_empty());
}

#[tokio::test]
async fn sums_by_workspace_agree_with_the_hourly_rollup() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.write_usage(2000, 20).await;
    database.batch("SELECT rollup_task_usage_hourly_window('epoch', now() + interval '1 second')").await;
    let connection = connect(&database).await;
    let workspace = id(&connection, "SELECT workspace_id FROM task_usage_hourly ORDER BY 1 LIMIT 1", &[]).await;

    for days in [400, 7, 0] {
        let since = OffsetDateTime::now_utc() - Duration::days(days);
        let hourly = connection
            .query(
                "SELECT (bucket_hour AT TIME ZONE 'UTC')::date, model, sum(input_tokens)::bigint
                 FROM task_usage_hourly
                 WHERE workspace_id = $1 AND bucket_hour >= date_trunc('day', $2::timestamptz, 'UTC')
                 GROUP BY 1, 2 ORDER BY 1 DESC, 2",
                &[&workspace, &since],
            )
            .await
            .unwrap();
        let hourly: Vec<(time::Date, String, i64)> =
            hourly.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let by_day = usage::by_day_and_model(&connection, workspace, since).await.unwrap();
        assert_eq!(by_day.iter().map(|row| (row.day, row.model.clone(), row.tokens.input)).collect::<Vec<_>>(), hourly);
        assert!(days == 0 || by_day.iter().all(|row| row.tasks > 0) && !by_day.is_empty());

        let by_model = usage::by_model(&connection, workspace, since).await.unwrap();
        assert!(by_model.is_sorted_by_key(|row| -(row.tokens.input + row.tokens.output)));
        let total = |inputs: &mut dyn Iterator<Item = i64>| inputs.sum::<i64>();
        assert_eq!(total(&mut by_model.iter().map(|row| row.tokens.input)), total(&mut hourly.iter().map(|row| row.2)));
    }
    assert!(usage::by_model(&connection, Uuid::nil(), OffsetDateTime::UNIX_EPOCH).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_issue_without_usage_has_zeros() {
    let database = TestDatabase::at_version(104, 0, 0).await;
    database.write_usage(200, 2).await;
    let connection = connect(&database).await;
    assert_eq!(usage::of_issue(&connection, Uuid::nil()).await.unwrap(), IssueUsage::default());
    let busiest = "SELECT t.issue_id FROM agent_task_queue t JOIN task_usage u ON u.task_id = t.id
                   WHERE t.issue_id IS NOT NULL AND t.runtime_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1";
    let issue = id(&connection, busiest, &[]).await;
    let IssueUsage { tokens, cost, tasks } = usage::of_issue(&connection, issue).await.unwrap();
    let expected = connection
        .query_one(
            "SELECT sum(u.output_tokens)::bigint, count(DISTINCT t.id) FROM task_usage u
             JOIN agent_task_queue t ON t.id = u.task_id WHERE t.issue_id = $1 AND t.runtime_id IS NOT NULL",
            &[&issue],
        )
        .await
        .unwrap();
    assert_eq!((tokens.output, tasks), (expected.get(0), expected.get(1)));
    assert_eq!(cost, Cost { usd_ticks: 0, uncosted: tokens }, "a database without costs has no cost");
}

#[tokio::test]
async fn a_cost_is_summed_apart_from_the_tokens_that_have_none() {
    let database = TestDatabase::at_version(latest(), 0, 0).await;
    database.write_usage(50, 1).await;
    database.batch("TRUNCATE task_usage CASCADE").await;
    let connection = connect(&database).await;
    let task = id(
        &connection,
        "SELECT id FROM agent_task_queue WHERE issue_id IS NOT NULL AND runtime_id IS NOT NULL LIMIT 1",
        &[],
    )
    .await;
    let usage = |model: &str, input, cost_usd_ticks| TaskUsage {
        task_id: task,
        provider: "codex".to_owned(),
        model: model.to_owned(),
        tokens: tokens(input),
        cost_usd_ticks,
    };
    usage::upsert(&connection, &usage("a", 7, Some(2_500_000_000))).await.unwrap();
    usage::upsert(&connection, &usage("b", 5, None)).await.unwrap();
    let issue = id(&connection, "SELECT issue_id FROM agent_task_queue WHERE id = $1", &[&task]).await;
    let found = usage::of_issue(&connection, issue).await.unwrap();
    assert_eq!(found.tokens, tokens(12));
    assert_eq!(found.cost, Cost { usd_ticks: 2_500_000_000, uncosted: tokens(5) });
    assert_eq!(usage::of_task(&connection, task).await.unwrap()[0].usage.cost_usd_ticks, Some(2_500_000_000));
    // What the provider says no longer is no longer there.
    usage::upsert(&connection, &usage("a", 8, None)).await.unwrap();
    let found = usage::of_issue(&connection, issue).await.unwrap();
    assert_eq!(found.cost, Cost { usd_ticks: 0, uncosted: tokens(13) });

    // Before 213 there is no place for it, which must not be passed over.
    let before = TestDatabase::at_version(104, 0, 0).await;
    let error = usage::upsert(&connect(&before).await, &usage("a", 7, Some(1))).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42703"), "{error}");
}
