-- When a usage row last changed.
--
-- Why      A rollup that advances by time must find corrected rows, and created_at never moves.
-- After    task_usage.updated_at exists. Rows written from now on carry now(); older ones stay NULL and count
--          with their created_at.
-- Cost     ACCESS EXCLUSIVE on task_usage for two catalog changes. No row is read or written: a column added
--          with its default in one statement would stamp every old row as changed just now, so the default
--          comes as a statement of its own.
-- Retry    One transaction.

-- 1. Nullable and without a default: old rows stay as they are.
ALTER TABLE task_usage ADD COLUMN IF NOT EXISTS updated_at timestamptz;

-- 2. The default reaches new rows only.
ALTER TABLE task_usage ALTER COLUMN updated_at SET DEFAULT now();
