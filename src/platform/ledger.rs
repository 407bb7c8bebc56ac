//! The history that the platform's own migrator keeps, and the objects that each of its versions must have left.
//!
//! Only objects that other programs rely on, by name: older versions of an object may differ inside, and a database built by the
//! platform's migrator has many more.

use crate::engine::Ledger;
use crate::engine::Object::{Column, Constraint, Function, Index, Table, Trigger};

/// What every rollup state table holds.
const STATE: &str = "id smallint, watermark_at timestamptz, last_run_started_at timestamptz, \
                     last_run_finished_at timestamptz, last_run_rows bigint, last_error text";

pub(crate) fn ledger() -> Ledger {
    let ledger = Ledger::new("schema_migrations")
        .named(|version, name| format!("{version:03}_{name}"))
        .recorded_as(1, &["001_init", "004_agent_runtime_loop", "034_projects"])
        .shared_until(32)
        .again_unless(102, 103, "the older window function would take hours: its cost is keys times tasks");
    hourly(dashboard(daily(tables(ledger))))
        .removes(
            103,
            &[
                Table("task_usage_daily", ""),
                Table("task_usage_daily_dirty", ""),
                Table("task_usage_rollup_state", ""),
                Table("task_usage_dashboard_daily", ""),
                Table("task_usage_dashboard_dirty", ""),
                Table("task_usage_dashboard_rollup_state", ""),
                Trigger("agent_task_queue", "trg_atq_dirty_rollup"),
                Trigger("task_usage", "trg_tu_dirty_rollup"),
                Trigger("agent_task_queue", "trg_atq_dirty_dashboard"),
                Trigger("issue", "trg_issue_delete_dirty_dashboard"),
                Trigger("issue", "trg_issue_project_dirty_dashboard"),
                Trigger("task_usage", "trg_tu_dirty_dashboard"),
                Trigger("task_usage", "trg_tu_delete_dirty_rollup"),
                Trigger("task_usage", "trg_tu_delete_dirty_dashboard"),
                Function("task_usage_daily_rebuild(date)", ""),
                Function("task_usage_daily_of(date)", ""),
                Function("task_usage_daily_dates(timestamptz)", ""),
                Function("task_usage_dashboard_daily_rebuild(date)", ""),
                Function("task_usage_dashboard_daily_of(date)", ""),
                Function("rollup_task_usage_daily_window(timestamptz, timestamptz)", ""),
                Function("rollup_task_usage_daily()", ""),
                Function("task_usage_rollup_lag_seconds()", ""),
                Function("enqueue_task_usage_daily_dirty_for_atq()", ""),
                Function("enqueue_task_usage_daily_dirty_for_tu()", ""),
                Function("rollup_task_usage_dashboard_daily_window(timestamptz, timestamptz)", ""),
                Function("rollup_task_usage_dashboard_daily()", ""),
                Function("task_usage_dashboard_rollup_lag_seconds()", ""),
                Function("enqueue_task_usage_dashboard_dirty_for_atq()", ""),
                Function("enqueue_task_usage_dashboard_dirty_for_issue_delete()", ""),
                Function("enqueue_task_usage_dashboard_dirty_for_issue_project()", ""),
                Function("enqueue_task_usage_dashboard_dirty_for_tu()", ""),
            ],
        )
        .removes(104, &[Column("agent_runtime", "timezone", "")])
        .leaves(
            213,
            &[
                Column("task_usage", "cost_usd_ticks", "bigint"),
                Column("task_usage_hourly", "cost_usd_ticks", "bigint"),
                Column("task_usage_hourly", "uncosted_input_tokens", "bigint"),
                Column("task_usage_hourly", "uncosted_output_tokens", "bigint"),
                Column("task_usage_hourly", "uncosted_cache_read_tokens", "bigint"),
                Column("task_usage_hourly", "uncosted_cache_write_tokens", "bigint"),
            ],
        )
        .leaves(
            243,
            &[
                Trigger("agent_task_queue", "trg_atq_dirty_hourly"),
                Trigger("issue", "trg_issue_delete_dirty_hourly"),
                Trigger("task_usage", "trg_tu_dirty_hourly"),
            ],
        )
        .leaves(272, &[Function("rollup_task_usage_hourly()", "bigint")])
}

fn tables(ledger: Ledger) -> Ledger {
    ledger
        .leaves(
            1,
            &[
                Table("workspace", "id uuid, name text, slug text, created_at timestamptz, updated_at timestamptz"),
                Table("project", "id uuid, workspace_id uuid, title text"),
                Table(
                    "agent_runtime",
                    "id uuid, workspace_id uuid, daemon_id text, name text, runtime_mode text, provider text, \
                     status text",
                ),
                Table("agent", "id uuid, workspace_id uuid, name text, runtime_mode text, runtime_id uuid"),
                Table(
                    "issue",
                    "id uuid, workspace_id uuid, project_id uuid, title text, creator_type text, creator_id uuid, \
                     number int",
                ),
                Table(
                    "agent_task_queue",
                    "id uuid, agent_id uuid, runtime_id uuid, issue_id uuid, status text, created_at timestamptz",
                ),
            ],
        )
        .leaves(
            32,
            &[
                Table(
                    "task_usage",
                    "id uuid, task_id uuid, provider text, model text, input_tokens bigint, output_tokens bigint, \
                     cache_read_tokens bigint, cache_write_tokens bigint, created_at timestamptz",
                ),
                Index("task_usage", "idx_task_usage_task_id"),
            ],
        )
}

fn daily(ledger: Ledger) -> Ledger {
    ledger
        .leaves(72, &[Column("task_usage", "updated_at", "timestamptz")])
        .leaves(
            73,
            &[
                Table(
                    "task_usage_daily",
                    "bucket_date date, workspace_id uuid, runtime_id uuid, provider text, model text",
                ),
                Table("task_usage_rollup_state", STATE),
                Function("rollup_task_usage_daily_window(timestamptz, timestamptz)", ""),
                Function("rollup_task_usage_daily()", ""),
            ],
        )
        .leaves(74, &[Index("task_usage", "idx_task_usage_updated_at")])
        .leaves(75, &[Index("task_usage", "idx_task_usage_created_at")])
        .leaves(76, &[Function("task_usage_rollup_lag_seconds()", "")])
        .leaves(
            77,
            &[
                Table("task_usage_daily_dirty", "enqueued_at timestamptz"),
                Function("enqueue_task_usage_daily_dirty_for_atq()", "trigger"),
                Function("enqueue_task_usage_daily_dirty_for_tu()", "trigger"),
                Trigger("agent_task_queue", "trg_atq_dirty_rollup"),
                Trigger("task_usage", "trg_tu_dirty_rollup"),
            ],
        )
        .leaves(78, &[Index("task_usage", "idx_task_usage_created_at_legacy")])
        .leaves(81, &[Column("agent_runtime", "timezone", "text")])
}

fn dashboard(ledger: Ledger) -> Ledger {
    ledger.leaves(
        84,
        &[
            Table(
                "task_usage_dashboard_daily",
                "bucket_date date, workspace_id uuid, agent_id uuid, project_id uuid, model text",
            ),
            Table("task_usage_dashboard_dirty", "enqueued_at timestamptz"),
            Table("task_usage_dashboard_rollup_state", STATE),
            Function("rollup_task_usage_dashboard_daily_window(timestamptz, timestamptz)", ""),
            Function("rollup_task_usage_dashboard_daily()", ""),
            Function("task_usage_dashboard_rollup_lag_seconds()", ""),
            Function("enqueue_task_usage_dashboard_dirty_for_atq()", "trigger"),
            Function("enqueue_task_usage_dashboard_dirty_for_issue_delete()", "trigger"),
            Function("enqueue_task_usage_dashboard_dirty_for_issue_project()", "trigger"),
            Function("enqueue_task_usage_dashboard_dirty_for_tu()", "trigger"),
            Trigger("agent_task_queue", "trg_atq_dirty_dashboard"),
            Trigger("issue", "trg_issue_delete_dirty_dashboard"),
            Trigger("issue", "trg_issue_project_dirty_dashboard"),
            Trigger("task_usage", "trg_tu_dirty_dashboard"),
        ],
    )
}

fn hourly(ledger: Ledger) -> Ledger {
    ledger
        .leaves(
            101,
            &[
                Table(
                    "task_usage_hourly",
                    "bucket_hour timestamptz, workspace_id uuid, runtime_id uuid, agent_id uuid, project_id uuid, \
                     provider text, model text, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, \
                     cache_write_tokens bigint, task_count bigint, event_count bigint, updated_at timestamptz",
                ),
                // Without it, buckets without a project could exist twice.
                Constraint(
                    "task_usage_hourly",
                    "uq_task_usage_hourly_key",
                    "UNIQUE NULLS NOT DISTINCT (bucket_hour, workspace_id, runtime_id, agent_id, project_id, provider, \
                     model)",
                ),
                Index("task_usage_hourly", "idx_task_usage_hourly_workspace_time"),
                Index("task_usage_hourly", "idx_task_usage_hourly_runtime_time"),
                Index("task_usage_hourly", "idx_task_usage_hourly_workspace_agent_time"),
                Index("task_usage_hourly", "idx_task_usage_hourly_workspace_project_time"),
                Table("task_usage_hourly_rollup_state", STATE),
                Table(
                    "task_usage_hourly_dirty",
                    "bucket_hour timestamptz, workspace_id uuid, runtime_id uuid, agent_id uuid, project_id uuid, \
                     provider text, model text, enqueued_at timestamptz",
                ),
                Constraint("task_usage_hourly_dirty", "uq_task_usage_hourly_dirty_key", ""),
                Index("task_usage_hourly_dirty", "idx_task_usage_hourly_dirty_enqueued_at"),
            ],
        )
        .leaves(
            102,
            &[
                Function("task_usage_hour_bucket(timestamptz)", "timestamptz"),
                Function("rollup_task_usage_hourly_window(timestamptz, timestamptz)", "bigint"),
                Function("rollup_task_usage_hourly()", "bigint"),
                Function("prune_task_usage_hourly_dirty(interval)", "bigint"),
                Function("task_usage_hourly_rollup_lag_seconds()", "double precision"),
                Function("enqueue_task_usage_hourly_dirty_for_atq()", "trigger"),
                Function("enqueue_task_usage_hourly_dirty_for_issue_delete()", "trigger"),
                Function("enqueue_task_usage_hourly_dirty_for_issue_project()", "trigger"),
                Function("enqueue_task_usage_hourly_dirty_for_tu()", "trigger"),
                Trigger("agent_task_queue", "trg_atq_dirty_hourly"),
                Trigger("issue", "trg_issue_delete_dirty_hourly"),
                Trigger("issue", "trg_issue_project_dirty_hourly"),
                Trigger("task_usage", "trg_tu_dirty_hourly"),
            ],
        )
}
