//! Measuring one number of rows in one shape.

use std::time::{Duration, Instant};

use migrate::db::{Connection, Error};
use migrate::engine::HookContext;
use migrate::platform::usage::{self, Tick, WalkOptions};
use serde::{Deserialize, Serialize};

use crate::common::{Outcome, assert_exact, connect, connector, load_usage, median, migrate, timed, with_database};

/// How many usage rows share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Nearly a bucket a row.
    Sparse,
    /// Fifty rows a bucket.
    Dense,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sparse => "sparse",
            Self::Dense => "dense",
        }
    }

    fn rows_per_bucket(self) -> u32 {
        match self {
            Self::Sparse => 1,
            Self::Dense => 50,
        }
    }
}

/// Seconds, medians of some rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub shape: Shape,
    pub rows: u64,
    pub buckets: u64,
    /// One aggregation of all raw rows, inserted into an empty table with the same constraint and indexes.
    pub floor: f64,
    /// The walk over the whole history.
    pub walk: f64,
    /// A tick that finds 200 changed rows.
    pub tick: f64,
    /// The hook when there is nothing to walk.
    pub idle_hook: f64,
    /// The guard of V103.
    pub guard: f64,
    /// Every round of the floor, in the order of time.
    pub floors: Vec<f64>,
    /// Every round of the walk; they take turns in who begins.
    pub walks: Vec<f64>,
}

/// Rows written per second, medians of some rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Writes {
    pub shape: Shape,
    pub rows: u64,
    pub insert: Compared,
    pub upsert: Compared,
    pub bulk_insert: Compared,
    pub bulk_upsert: Compared,
}

/// With and without the rollup's triggers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Compared {
    pub with_triggers: f64,
    pub without: f64,
    /// Median of the rounds' own ratios of time: 1.05 is 5 % more with triggers.
    pub cost: f64,
}

/// What a trigger costs does not depend on how many rows there are; it is measured at this size.
const WRITES_AT: u64 = 1_000_000;
const TICKS: usize = 31;
const WRITE_ROUNDS: usize = 9;
const SINGLE_WRITES: usize = 3000;
const BULK_WRITES: usize = 20_000;

pub async fn cell(server: &str, shape: Shape, rows: u64) -> Outcome<(Cell, Option<Writes>)> {
    let name = format!("{}_{rows}", shape.name());
    let url = with_database(server, &name)?;
    let admin = connect(server).await?;
    admin.batch(&format!("CREATE DATABASE {name}")).await?;

    migrate(&url, "72")?;
    let connection = connect(&url).await?;
    let alone = HookContext::alone("bench", connector(&url)?);
    load_usage(&connection, rows, shape.rows_per_bucket(), 0.0).await?;
    migrate(&url, "102")?;
    // The floor gets its best plan, and nothing happens to the statistics in between. Ours does not ask for them.
    for table in ["task_usage", "agent_task_queue", "agent", "issue", "task_usage_hourly"] {
        connection.batch(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off); ANALYZE {table}")).await?;
    }
    // Reads everything once, and sets what the first reader of a row has to set.
    connection
        .batch("SELECT sum(input_tokens) FROM task_usage; SELECT count(runtime_id) FROM agent_task_queue")
        .await?;

    let rounds = if rows > 1_000_000 { 2 } else { 4 };
    let (mut floors, mut walks) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in [round % 2, (round + 1) % 2] {
            if turn == 0 {
                floors.push(floor(&connection).await?);
            } else {
                walks.push(walk(&connection, &alone).await?);
            }
        }
    }
    let buckets: i64 = connection.query_one("SELECT count(*) FROM task_usage_hourly", &[]).await?.get(0);
    assert_exact(&url).await?;
    let guard = guard(&connection).await?;
    let idle_hook = idle_hook(&connection, &alone).await?;
    migrate(&url, "272")?;
    let tick = tick(&connection).await?;
    let writes = if rows == WRITES_AT {
        Some(Writes {
            shape,
            rows,
            insert: compare(&connection, Write::Insert).await?,
            upsert: compare(&connection, Write::Upsert).await?,
            bulk_insert: compare(&connection, Write::BulkInsert).await?,
            bulk_upsert: compare(&connection, Write::BulkUpsert).await?,
        })
    } else {
        None
    };
    connection.close().await;
    admin.batch(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    let cell = Cell {
        shape,
        rows,
        buckets: buckets.unsigned_abs(),
        floor: median(&mut floors.clone()),
        walk: median(&mut walks.clone()),
        tick,
        idle_hook,
        guard,
        floors,
        walks,
    };
    Ok((cell, writes))
}

async fn floor(connection: &Connection) -> Outcome<f64> {
    const FLOOR: &str = "
        INSERT INTO floor
        SELECT date_trunc('hour', u.created_at, 'UTC'), a.workspace_id, t.runtime_id, t.agent_id, i.project_id,
               u.provider, u.model, sum(u.input_tokens)::bigint, sum(u.output_tokens)::bigint,
               sum(u.cache_read_tokens)::bigint, sum(u.cache_write_tokens)::bigint, count(DISTINCT u.task_id), count(*)
        FROM task_usage u
        JOIN agent_task_queue t ON t.id = u.task_id
        JOIN agent a ON a.id = t.agent_id
        LEFT JOIN issue i ON i.id = t.issue_id
        WHERE t.runtime_id IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7";
    connection.batch("DROP TABLE IF EXISTS floor; CREATE TABLE floor (LIKE task_usage_hourly INCLUDING ALL)").await?;
    connection.batch("CHECKPOINT").await?;
    // As sums without DISTINCT, which would cost a sort that ours does without: counting rows counts tasks.
    let time = timed(connection.batch(&FLOOR.replace("count(DISTINCT u.task_id)", "count(*)"))).await?;
    connection.batch("DROP TABLE floor").await?;
    Ok(time)
}

async fn walk(connection: &Connection, alone: &HookContext) -> Outcome<f64> {
    connection
        .batch("TRUNCATE task_usage_hourly; UPDATE task_usage_hourly_rollup_state SET watermark_at = 'epoch'")
        .await?;
    connection.batch("CHECKPOINT").await?;
    let started = Instant::now();
    usage::walk(connection, WalkOptions::default(), alone).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// The hook when the watermark is where it should be, and nothing has been written since.
async fn idle_hook(connection: &Connection, alone: &HookContext) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..TICKS {
        let started = Instant::now();
        usage::walk(connection, WalkOptions::default(), alone).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
}

async fn guard(connection: &Connection) -> Outcome<f64> {
    const V103: &str = include_str!("../../migrations/platform/V103__drop_legacy_daily_rollups.sql");
    let start = V103.find("DO $$").ok_or("V103 begins with its guard")?;
    let end = V103.find("END\n$$;").ok_or("the guard ends")? + "END\n$$;".len();
    let mut times = Vec::new();
    for _ in 0..TICKS {
        times.push(timed(connection.batch(&V103[start..end])).await?);
    }
    Ok(median(&mut times))
}

/// The same 200 rows of the present hour, which has no others, change again before each tick, as ordinary writes that
/// are minutes old: the same work at every size of the table.
async fn tick(connection: &Connection) -> Outcome<f64> {
    const WRITE: &str = "
        INSERT INTO task_usage (task_id, provider, model, input_tokens, created_at, updated_at)
        SELECT id, 'claude', 'tick', 1, date_trunc('hour', now()), now() - interval '6 minutes'
        FROM (SELECT id FROM agent_task_queue ORDER BY id LIMIT 200) t
        ON CONFLICT (task_id, provider, model)
        DO UPDATE SET input_tokens = task_usage.input_tokens + 1, updated_at = excluded.updated_at";
    const BACK: &str = "UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '10 minutes'";
    let mut times = Vec::new();
    for _ in 0..TICKS {
        // Written minutes ago, they would not have been reported.
        connection
            .batch(&format!("SET session_replication_role TO replica; {WRITE}; RESET session_replication_role"))
            .await?;
        connection.batch(BACK).await?;
        let started = Instant::now();
        let tick = usage::tick(connection, Duration::from_secs(10)).await?;
        times.push(started.elapsed().as_secs_f64());
        if !matches!(tick, Tick::Done { buckets: 1.., .. }) {
            return Err(format!("the tick did nothing: {tick:?}").into());
        }
    }
    Ok(median(&mut times))
}

#[derive(Clone, Copy)]
enum Write {
    Insert,
    Upsert,
    BulkInsert,
    BulkUpsert,
}

/// Rounds with and without triggers take turns.
async fn compare(connection: &Connection, write: Write) -> Outcome<Compared> {
    // The disk's flushes would hide everything else.
    connection.batch("SET synchronous_commit TO off").await?;
    let (mut with, mut without, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WRITE_ROUNDS {
        let mut times = [0.0; 2];
        // Neither of them is always the first.
        for turn in [round % 2, (round + 1) % 2] {
            triggers(connection, turn == 0).await?;
            connection.batch("DELETE FROM task_usage WHERE model = 'bench'; CHECKPOINT").await?;
            times[turn] = write_some(connection, write).await?;
        }
        with.push(times[0]);
        without.push(times[1]);
        cost.push(times[0] / times[1]);
    }
    triggers(connection, true).await?;
    connection.batch("RESET synchronous_commit; TRUNCATE task_usage_hourly_invalidation").await?;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let rows = match write {
        Write::Insert | Write::Upsert => SINGLE_WRITES as f64,
        Write::BulkInsert | Write::BulkUpsert => BULK_WRITES as f64,
    };
    Ok(Compared {
        with_triggers: rows / median(&mut with),
        without: rows / median(&mut without),
        cost: median(&mut cost),
    })
}

async fn triggers(connection: &Connection, on: bool) -> Result<(), Error> {
    let what = if on { "ENABLE" } else { "DISABLE" };
    let alter =
        ["trg_report_usage_insert", "trg_report_usage_update", "trg_report_usage_delete", "trg_tu_dirty_hourly"]
            .map(|trigger| format!("ALTER TABLE task_usage {what} TRIGGER {trigger};"));
    connection.batch(&alter.concat()).await
}

/// Single rows, each a transaction, as the application writes them; or many in one statement.
async fn write_some(connection: &Connection, write: Write) -> Outcome<f64> {
    const ROWS: &str = "
        INSERT INTO task_usage (task_id, provider, model, input_tokens, output_tokens, updated_at)
        SELECT id, 'claude', 'bench', 1, 2, now() FROM (SELECT id FROM agent_task_queue ORDER BY id LIMIT $1) t";
    const UPSERT: &str = " ON CONFLICT (task_id, provider, model)
        DO UPDATE SET input_tokens = excluded.input_tokens + 1, updated_at = now()";
    let many = |rows: usize| ROWS.replace("$1", &rows.to_string());
    match write {
        Write::BulkInsert => timed(connection.batch(&many(BULK_WRITES))).await,
        Write::BulkUpsert => {
            connection.batch(&many(BULK_WRITES)).await?;
            timed(connection.batch(&(many(BULK_WRITES) + UPSERT))).await
        }
        Write::Insert | Write::Upsert => {
            if matches!(write, Write::Upsert) {
                connection.batch(&many(SINGLE_WRITES)).await?;
            }
            // The server runs the loop: what the network costs is no concern of the triggers.
            let each = format!(
                "DO $$ DECLARE v_task uuid; BEGIN
                     FOR v_task IN SELECT id FROM agent_task_queue ORDER BY id LIMIT {SINGLE_WRITES} LOOP
                         INSERT INTO task_usage (task_id, provider, model, input_tokens, output_tokens, updated_at)
                         VALUES (v_task, 'claude', 'bench', 1, 2, now()) {UPSERT};
                         COMMIT;
                     END LOOP;
                 END $$"
            );
            timed(connection.batch(&each)).await
        }
    }
}
