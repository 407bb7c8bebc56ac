-- The platform's tables as far as the usage pipeline relies on them.
--
-- Why      An empty database gets the tables that task usage hangs on. A real deployment has more columns and
--          tables; nothing in this chain depends on what is not listed here.
-- After    workspace, project, agent_runtime, agent, issue and agent_task_queue exist and are empty.
-- Cost     New tables only.
-- Retry    One transaction: it is applied whole or not at all.

-- 1. A workspace owns everything below it.
CREATE TABLE workspace (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL,
    slug       text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE project (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    title        text NOT NULL
);

-- 2. Who works: agents, on the runtimes that execute them.
CREATE TABLE agent_runtime (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    daemon_id    text,
    name         text NOT NULL,
    runtime_mode text NOT NULL,
    provider     text NOT NULL,
    status       text NOT NULL DEFAULT 'offline',
    UNIQUE (workspace_id, daemon_id, provider)
);

CREATE TABLE agent (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    name         text NOT NULL,
    runtime_mode text NOT NULL,
    runtime_id   uuid NOT NULL REFERENCES agent_runtime (id) ON DELETE RESTRICT,
    UNIQUE (workspace_id, name)
);

-- 3. What is worked on, and the tasks that do the work.
CREATE TABLE issue (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
    project_id   uuid REFERENCES project (id) ON DELETE SET NULL,
    title        text NOT NULL,
    creator_type text NOT NULL,
    creator_id   uuid NOT NULL,
    number       int NOT NULL DEFAULT 0
);

CREATE TABLE agent_task_queue (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    agent_id   uuid NOT NULL REFERENCES agent (id) ON DELETE CASCADE,
    runtime_id uuid REFERENCES agent_runtime (id) ON DELETE CASCADE,
    issue_id   uuid REFERENCES issue (id) ON DELETE CASCADE,
    status     text NOT NULL DEFAULT 'queued',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- 4. Every foreign key that a cascade follows has an index, or a delete would scan the child.
CREATE INDEX idx_project_workspace_id ON project (workspace_id);
CREATE INDEX idx_agent_runtime_id ON agent (runtime_id);
CREATE INDEX idx_issue_workspace_id ON issue (workspace_id);
CREATE INDEX idx_issue_project_id ON issue (project_id);
CREATE INDEX idx_agent_task_queue_agent_id ON agent_task_queue (agent_id);
CREATE INDEX idx_agent_task_queue_runtime_id ON agent_task_queue (runtime_id);
CREATE INDEX idx_agent_task_queue_issue_id ON agent_task_queue (issue_id);
