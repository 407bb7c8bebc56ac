//! Who can do what to whom: each cell of the table in docs/security.md is tried here, or in `hostile` and `rights`.

use crate::harness::{Finished, Program, TestDatabase, latest, with_authority};

/// A database whose tables and functions belong to a role that may log in.
struct Owned {
    database: TestDatabase,
    owner: String,
}

impl Owned {
    async fn at_version(version: i64) -> Self {
        let database = TestDatabase::at_version(version, 60, 5).await;
        let owner = format!("{}_app", database.name);
        database
            .batch(&format!(
                "CREATE ROLE {owner} LOGIN PASSWORD 'role';
                 GRANT CREATE ON DATABASE {} TO {owner}; GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
                database.name
            ))
            .await;
        database.give_to(&owner).await;
        Self { database, owner }
    }

    /// Another role, and what it is granted.
    async fn role(&self, suffix: &str, grants: &str) -> String {
        let role = format!("{}_{suffix}", self.database.name);
        let grants = grants.replace("{role}", &role).replace("{owner}", &self.owner);
        self.database.batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'role'; {grants}")).await;
        role
    }

    fn url(&self, role: &str) -> String {
        with_authority(&self.database.url, Some(&format!("{role}:role")), None)
    }

    fn run_as(&self, role: &str, arguments: &[&str]) -> Finished {
        Program::new().env("DATABASE_URL", &self.url(role)).args(arguments.iter().copied()).run()
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.database.program().args(arguments.iter().copied()).run()
    }

    async fn as_owner(&self, sql: &str) {
        crate::harness::session(&self.url(&self.owner)).await.batch_execute(sql).await.expect("the owner may do that");
    }

    async fn forget(self, roles: &[&str]) {
        for role in roles.iter().copied().chain([self.owner.as_str()]) {
            self.database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
        }
    }
}

/// Puts off whatever role was taken on, and counts those who then are a superuser: in a sequence, which no rollback takes back.
const TRAP: &str = "
    CREATE SEQUENCE caught; CREATE SEQUENCE sprung;
    GRANT ALL ON SEQUENCE caught, sprung TO PUBLIC;
    CREATE FUNCTION spring() RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('role', 'none', true), nextval('public.sprung');
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            PERFORM nextval('public.caught');
        END IF;
        RETURN 0;
    END $$;
    CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM public.spring(); IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;
    CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON task_usage FOR EACH ROW EXECUTE FUNCTION trap();
    CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON task_usage_hourly FOR EACH ROW EXECUTE FUNCTION trap();
    CREATE TRIGGER trap BEFORE UPDATE ON task_usage_hourly_rollup_state FOR EACH ROW EXECUTE FUNCTION trap();";

async fn times(database: &TestDatabase, sequence: &str) -> i64 {
    database.value(&format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")).await
}

#[tokio::test]
async fn a_superuser_runs_no_code_of_the_owner_and_is_told_how_to_connect() {
    let owned = Owned::at_version(latest()).await;
    owned.as_owner(TRAP).await;
    let now: String = owned.database.value("SELECT to_json(now()) #>> '{}'").await;
    owned
        .as_owner(
            "CREATE OR REPLACE FUNCTION rollup_task_usage_hourly() RETURNS bigint LANGUAGE sql AS 'SELECT spring()';
             CREATE OR REPLACE FUNCTION task_usage_hourly_rebuild(p_hours timestamptz[]) RETURNS bigint LANGUAGE sql
                 AS 'SELECT spring()';
             CREATE OR REPLACE FUNCTION task_usage_hourly_horizon() RETURNS timestamptz LANGUAGE sql
                 AS 'SELECT now() FROM spring()'",
        )
        .await;
    let refused: [&[&str]; 6] = [
        &["up"],
        &["rollup", "tick"],
        &["rollup", "watch"],
        &["verify", "rollup", "--fix"],
        &["repair", "codex-cache", "--cutoff", &now, "--execute"],
        &["repair", "hourly-rollup", "--execute"],
    ];
    for verb in refused {
        let refused = owned.run(verb).expect(7);
        for said in ["role postgres is a superuser", &format!("connect as {}", owned.owner), "IN ROLE"] {
            assert!(refused.stderr.contains(said), "{verb:?}, {said}: {}", refused.stderr);
        }
    }
    // Looking is no danger, and works. What is wrong, or another's, is found.
    let looks: [(&[&str], i32); 7] = [
        (&["status"], 0),
        (&["rollup", "status"], 0),
        (&["verify", "history"], 0),
        (&["verify", "schema"], 4),
        (&["verify", "rollup"], 4),
        (&["repair", "codex-cache", "--cutoff", &now], 0),
        (&["repair", "runs"], 0),
    ];
    for (look, code) in looks {
        let looked = owned.run(look);
        assert_eq!(looked.status.code(), Some(code), "{look:?}: {}{}", looked.stdout, looked.stderr);
    }
    assert_eq!(times(&owned.database, "sprung").await, 0);
    // The trap is a good one: whoever does not ask this program falls into it.
    owned.database.batch("SELECT rollup_task_usage_hourly()").await;
    assert_eq!(times(&owned.database, "caught").await, 1);
    owned.forget(&[]).await;
}

#[tokio::test]
async fn a_superuser_who_only_looks_is_refused_where_looking_would_run_code_of_the_owner() {
    let owned = Owned::at_version(latest()).await;
    owned
        .as_owner(
            "CREATE FUNCTION sly(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
             CREATE INDEX slyly ON task_usage (model) WHERE sly(1)",
        )
        .await;
    for look in [&["verify", "rollup"][..], &["rollup", "status"], &["repair", "hourly-rollup"]] {
        let refused = owned.run(look).expect(7);
        assert!(refused.stderr.contains("index slyly calls function sly(integer)"), "{look:?}: {}", refused.stderr);
        owned.run_as(&owned.owner, &["status"]).expect(7);
    }
    owned
        .as_owner("DROP INDEX slyly; ALTER TABLE issue RENAME TO issues; CREATE VIEW issue AS SELECT * FROM issues")
        .await;
    let refused = owned.run(&["verify", "rollup"]).expect(7);
    assert!(
        refused.stderr.contains("relation issue") && refused.stderr.contains("it is no table"),
        "{}",
        refused.stderr
    );
    owned.forget(&[]).await;
}

/// A planner evaluates functions that say they are immutable, wherever it meets them.
#[tokio::test]
async fn a_superuser_who_looks_runs_no_code_that_hides_in_statistics_children_and_types() {
    const SLY: &str = "CREATE FUNCTION sly(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'";
    let cases: [(&str, &[&[&str]]); 7] = [
        (
            "CREATE STATISTICS hidden ON (sly(1) + input_tokens), model FROM task_usage",
            &[&["verify", "rollup"], &["rollup", "status"], &["repair", "hourly-rollup"], &["up"], &["status"]],
        ),
        (
            "CREATE TABLE child () INHERITS (task_usage); CREATE INDEX hidden ON child ((sly(1) + input_tokens))",
            &[&["verify", "rollup"], &["repair", "codex-cache", "--cutoff", "2026-01-01T00:00:00Z"]],
        ),
        (
            "CREATE TYPE ev AS ENUM ('codex', 'claude');
             ALTER TABLE task_usage ALTER provider DROP DEFAULT, ALTER provider TYPE ev USING 'codex'",
            &[&["verify", "rollup"], &["repair", "codex-cache", "--cutoff", "2026-01-01T00:00:00Z"]],
        ),
        (
            "CREATE INDEX hidden ON migrate.repair_run ((sly(1) + id))",
            &[&["repair", "runs"], &["repair", "close", "1"], &["repair", "undo", "1"], &["status"]],
        ),
        (
            "CREATE STATISTICS hidden ON (sly(1) + version), name FROM migrate.history_platform",
            &[&["status"], &["verify", "history"], &["up"], &["up", "--dry-run"], &["repair", "runs"]],
        ),
        (
            "ALTER TABLE migrate.repair_run RENAME TO kept;
             CREATE VIEW migrate.repair_run AS SELECT * FROM migrate.kept WHERE sly(id) > 0",
            &[&["repair", "runs"], &["repair", "close", "1"]],
        ),
        (
            "CREATE TYPE pair AS (a text, b text); ALTER TABLE migrate.repair_run ADD COLUMN hidden pair",
            &[&["repair", "runs"], &["repair", "close", "1"]],
        ),
    ];
    for (made, looks) in cases {
        let owned = Owned::at_version(104).await;
        let refused = owned.run_as(&owned.owner, &["repair", "runs"]).expect(7);
        assert!(
            refused.stderr.contains("as postgres, the owner of that schema, run: GRANT USAGE"),
            "{}",
            refused.stderr
        );
        owned
            .database
            .batch(&format!(
                "CREATE TABLE migrate.repair_run (id bigint PRIMARY KEY);
                 DO $do$ DECLARE t regclass; BEGIN
                     FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'migrate'::regnamespace AND relkind = 'r' LOOP
                         EXECUTE format('ALTER TABLE %s OWNER TO {0}', t);
                     END LOOP;
                 END $do$;
                 GRANT ALL ON SCHEMA migrate TO {0}",
                owned.owner
            ))
            .await;
        owned.as_owner(SLY).await;
        owned.as_owner(made).await;
        for look in looks {
            let refused = owned.run(look).expect(7);
            assert!(refused.stderr.contains("is a superuser and "), "{made}: {look:?}: {}", refused.stderr);
        }
        owned.forget(&[]).await;
    }
}

/// Whoever ran first owns the history, which may be the owner of the tables.
#[tokio::test]
async fn a_superuser_who_writes_the_history_runs_no_trigger_on_it() {
    let owned = Owned::at_version(latest()).await;
    owned
        .database
        .batch(&format!(
            "CREATE TABLE migrate.repair_run (
                 id bigint PRIMARY KEY, started_at timestamptz DEFAULT now(), repair text, arguments jsonb, state text,
                 finished_at timestamptz, digest text, rows_found bigint, totals jsonb, undoes bigint, progress jsonb,
                 rollup_from timestamptz, rollup_to timestamptz, run_by text DEFAULT 'app', run_from text,
                 tool_version text, hashed jsonb);
             INSERT INTO migrate.repair_run (id, repair, arguments, state, rows_found)
             VALUES (1, 'codex-cache', '{{}}', 'running', 0);
             ALTER TABLE migrate.repair_run OWNER TO {0}; GRANT ALL ON SCHEMA migrate TO {0}",
            owned.owner
        ))
        .await;
    owned.as_owner(TRAP).await;
    owned
        .as_owner("CREATE TRIGGER trap BEFORE UPDATE ON migrate.repair_run FOR EACH ROW EXECUTE FUNCTION trap()")
        .await;
    for writes in [
        &["repair", "close", "1"][..],
        &["repair", "hourly-rollup", "--execute"],
        &["repair", "undo", "1", "--execute"],
    ] {
        owned.run(writes).expect(7);
        assert_eq!(times(&owned.database, "sprung").await, 0, "{writes:?}");
    }
    owned.forget(&[]).await;
}

#[tokio::test]
async fn a_member_of_the_owner_works_as_the_owner_and_lends_it_no_more_than_its_own_rights() {
    let owned = Owned::at_version(84).await;
    let member = owned.role("member", "GRANT {owner} TO {role}").await;
    owned
        .database
        .batch(&format!(
            "GRANT USAGE, CREATE ON SCHEMA migrate TO {0};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {0}",
            owned.owner
        ))
        .await;
    let refused = owned.run(&["up"]).expect(7);
    assert!(
        refused.stderr.contains("role postgres is a superuser and table task_usage belongs to"),
        "{}",
        refused.stderr
    );
    assert_eq!(owned.database.versions().await.last(), Some(&84));
    owned.run_as(&member, &["up"]).expect(0);
    owned.as_owner(TRAP).await;
    owned.run_as(&member, &["rollup", "tick"]).expect(0);
    owned
        .database
        .batch(
            "ALTER TABLE task_usage_hourly DISABLE TRIGGER trap; UPDATE task_usage_hourly SET event_count = 9;
                          ALTER TABLE task_usage_hourly ENABLE TRIGGER trap",
        )
        .await;
    owned.run_as(&member, &["verify", "rollup", "--fix"]).expect(0);
    assert!(times(&owned.database, "sprung").await > 0);
    assert_eq!(times(&owned.database, "caught").await, 0);
    owned.forget(&[&member]).await;
}

#[tokio::test]
async fn the_owner_may_write_the_books_and_put_nothing_on_them() {
    let owned = Owned::at_version(84).await;
    let (owner, database) = (&owned.owner, &owned.database);
    let member = owned.role("member", "GRANT {owner} TO {role}; GRANT CREATE ON SCHEMA public TO {role}").await;
    // The history is the member's, as if it had made it; an earlier build has granted everything.
    database
        .batch(&format!(
            "DO $$
             DECLARE v_table regclass;
             BEGIN
                 FOR v_table IN SELECT oid FROM pg_class WHERE relnamespace = 'migrate'::regnamespace AND relkind = 'r' LOOP
                     EXECUTE format('ALTER TABLE %s OWNER TO {member}', v_table);
                 END LOOP;
             END $$;
             ALTER SCHEMA migrate OWNER TO {member};
             GRANT ALL ON SCHEMA migrate TO {owner}; GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {owner}"
        ))
        .await;
    owned
        .as_owner(
            "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER trap BEFORE INSERT ON migrate.hook_run FOR EACH ROW EXECUTE FUNCTION trap()",
        )
        .await;
    let refused = owned.run_as(&member, &["up"]).expect(7);
    assert!(refused.stderr.contains("trigger trap on table migrate.hook_run"), "{}", refused.stderr);
    assert!(refused.stderr.contains("DROP TRIGGER trap ON migrate.hook_run"), "{}", refused.stderr);
    assert_eq!(database.versions().await.last(), Some(&84));
    let verified = owned.run_as(&member, &["verify", "schema"]).expect(4);
    assert!(verified.stdout.contains("DROP TRIGGER trap ON migrate.hook_run;"), "{}", verified.stdout);
    database.batch("DROP TRIGGER trap ON migrate.hook_run").await;
    owned.run_as(&member, &["up"]).expect(0);
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let repair = ["repair", "codex-cache", "--cutoff", &cutoff, "--execute"];
    owned.run_as(&member, &repair).expect(0);
    let granted: String = database
        .value(&format!(
            "SELECT string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type)
             FROM information_schema.role_table_grants WHERE table_schema = 'migrate' AND grantee = '{owner}'"
        ))
        .await;
    assert_eq!(granted, "DELETE INSERT SELECT UPDATE");
    // Whoever is the next one to run may be the owner, who may write them; and a repair looks at its journal, too.
    database.batch("CREATE RULE away AS ON DELETE TO migrate.repair_run DO INSTEAD NOTHING").await;
    let refused = owned.run_as(owner, &["repair", "hourly-rollup", "--execute"]).expect(7);
    assert!(refused.stderr.contains("DROP RULE away ON migrate.repair_run"), "{}", refused.stderr);
    owned.forget(&[&member]).await;
}

#[tokio::test]
async fn an_application_that_owns_nothing_can_neither_forge_reports_nor_books_nor_tick() {
    let owned = Owned::at_version(latest()).await;
    let grants = "GRANT SELECT, INSERT, UPDATE, DELETE ON task_usage, agent_task_queue, issue, agent TO {role}";
    let application = owned.role("writer", grants).await;
    let session = crate::harness::session(&owned.url(&application)).await;
    session
        .batch_execute("UPDATE task_usage SET input_tokens = 1, updated_at = '2020-01-01'")
        .await
        .expect("it may write");
    for forged in [
        "INSERT INTO task_usage_hourly_invalidation (bucket_hour) VALUES (now())",
        "UPDATE task_usage_hourly SET input_tokens = 0",
        "UPDATE task_usage_hourly_rollup_state SET watermark_at = 'infinity'",
        "SELECT rollup_task_usage_hourly()",
        "SELECT * FROM migrate.history_platform",
        "CREATE TRIGGER t AFTER INSERT ON task_usage EXECUTE FUNCTION task_usage_hourly_report_written()",
        "CREATE TEMP TABLE t (created_at text);
         CREATE TRIGGER t AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION task_usage_hourly_report_removed()",
    ] {
        let refused = session.batch_execute(forged).await.expect_err(forged);
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{forged}: {refused:?}");
    }
    let up = owned.run_as(&application, &["rollup", "tick"]).expect(7);
    assert!(up.stderr.contains("permission denied"), "{}", up.stderr);
    drop(session);
    owned.forget(&[&application]).await;
}
