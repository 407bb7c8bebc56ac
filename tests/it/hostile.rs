//! A schema in which somebody else has put functions and operators that fit our arguments better than PostgreSQL's own: none of
//! them is ever called. Each of them raises an error, so that a verb which calls one fails.

use crate::harness::{Program, TestDatabase, latest};

/// Types of what our statements compare, add and concatenate.
const TYPES: &str = "
    timestamptz timestamp date interval text varchar uuid bigint int smallint numeric float8 jsonb json oid name \"char\"
    regclass regprocedure regtype regnamespace boolean xid tid inet pg_lsn text[] timestamptz[] uuid[] bigint[] name[]";

/// Operators that our statements use, also by keyword: IN, BETWEEN, LIKE, IS DISTINCT FROM.
const OPERATORS: &str = "= <> < <= > >= + - || & | << ~ !~ ~~ !~~ -> ->> #>>";

/// Makes, as a role that may create in the schema and nothing else, an operator for every pair of types that PostgreSQL has
/// none for; for every function that we call, of PostgreSQL's and of ours, one for every type that is not exactly its own.
const HOSTILE: &str = r#"
CREATE ROLE {role};
GRANT CREATE ON SCHEMA public TO {role};
SET ROLE {role};
SET client_min_messages TO warning;
SET search_path TO pg_catalog, pg_temp;
DO $do$
DECLARE
    v_types     CONSTANT regtype[] := ARRAY(SELECT t::regtype FROM regexp_split_to_table(trim(E' \n' FROM '{types}'), '\s+') t);
    v_operators CONSTANT text[] := string_to_array('{operators}', ' ');
    v_left      regtype;
    v_right     regtype;
    v_operator  text;
    v_name      text;
BEGIN
    FOREACH v_left IN ARRAY v_types LOOP
        FOREACH v_right IN ARRAY v_types LOOP
            EXECUTE format(
                'CREATE FUNCTION public.hostile(a %s, b %s) RETURNS boolean LANGUAGE plpgsql AS
                 $f$ BEGIN RAISE EXCEPTION ''hostile operator of %s and %s''; END $f$',
                v_left, v_right, replace(v_left::text, '"', ''), v_right);
            FOREACH v_operator IN ARRAY v_operators LOOP
                CONTINUE WHEN EXISTS (
                    SELECT FROM pg_operator o
                    WHERE o.oprname = v_operator AND o.oprleft = v_left AND o.oprright = v_right
                      AND o.oprnamespace = 'pg_catalog'::regnamespace
                );
                EXECUTE format(
                    'CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.hostile)',
                    v_operator, v_left, v_right);
            END LOOP;
        END LOOP;
    END LOOP;
    FOREACH v_name IN ARRAY ARRAY[{functions}] LOOP
        FOREACH v_left IN ARRAY v_types LOOP
            CONTINUE WHEN to_regprocedure(format('public.%I(%s)', v_name, v_left)) IS NOT NULL;
            EXECUTE format(
                'CREATE FUNCTION public.%I(%s) RETURNS %2$s LANGUAGE plpgsql AS
                 $f$ BEGIN RAISE EXCEPTION ''hostile %1$s''; END $f$', v_name, v_left);
        END LOOP;
        FOREACH v_right IN ARRAY '{text,varchar,timestamptz,bigint,int,jsonb,oid,name,uuid}'::regtype[] LOOP
            CONTINUE WHEN to_regprocedure(format('public.%I(%s, %2$s)', v_name, v_right)) IS NOT NULL;
            EXECUTE format(
                'CREATE FUNCTION public.%I(%s, %2$s) RETURNS %2$s LANGUAGE plpgsql AS
                 $f$ BEGIN RAISE EXCEPTION ''hostile %1$s''; END $f$', v_name, v_right);
        END LOOP;
        EXECUTE format(
            'CREATE FUNCTION public.%I(VARIADIC text[]) RETURNS bigint LANGUAGE plpgsql AS
             $f$ BEGIN RAISE EXCEPTION ''hostile %1$s''; END $f$', v_name || '_');
    END LOOP;
END
$do$;
RESET ROLE;
RESET search_path;
"#;

/// The functions that the chain leaves and calls. Those of PostgreSQL's are `qualified`'s business; some are here, so that this
/// fails where one of the most used is called without its schema.
const FUNCTIONS: [&str; 22] = [
    "task_usage_hour_bucket",
    "task_usage_hourly_computed",
    "task_usage_hourly_rebuild",
    "task_usage_hourly_take_reports",
    "rollup_task_usage_hourly_window",
    "prune_task_usage_hourly_dirty",
    "unnest",
    "format",
    "to_json",
    "to_regclass",
    "min",
    "max",
    "sum",
    "count",
    "array_agg",
    "string_agg",
    "isfinite",
    "coalesce",
    "concat_ws",
    "quote_ident",
    "date_trunc",
    "jsonb_build_object",
];

async fn make_hostile(database: &TestDatabase) {
    let functions: Vec<String> = FUNCTIONS.iter().map(|name| format!("'{name}'")).collect();
    let sql = HOSTILE
        .replace("{role}", &format!("squatter_{}", database.name))
        .replace("{types}", TYPES)
        .replace("{operators}", OPERATORS)
        .replace("{functions}", &functions.join(", "));
    database.batch(&sql).await;
    // They are where our statements would find them.
    for called in [
        "SELECT unnest('{}'::timestamptz[])",
        "SELECT 'pg_class'::regclass = oid FROM pg_class",
        "SELECT 'pg_class'::regclass || 'pg_class'",
    ] {
        let caught = database.session().await.query(called, &[]).await.expect_err("it raises");
        assert!(format!("{caught:?}").contains("hostile"), "{called}: {caught:?}");
    }
}

fn run(program: Program, arguments: &[&str], code: i32) -> String {
    let finished = program.args(arguments.iter().copied()).run();
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!said.contains("hostile"), "{arguments:?}: {said}");
    assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

async fn forget(database: &TestDatabase) {
    let role = format!("squatter_{}", database.name);
    database.batch(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn nothing_is_applied_beside_what_somebody_else_has_put_into_the_schema() {
    let database = TestDatabase::at_version(84, 200, 30).await;
    make_hostile(&database).await;
    run(database.program(), &["status"], 0);
    for up in [&["up", "--dry-run"][..], &["up"]] {
        let refused = database.program().args(up.iter().copied()).run().expect(7);
        assert!(refused.stderr.contains(&format!("belongs to squatter_{}", database.name)), "{}", refused.stderr);
        assert!(refused.stderr.contains("DROP FUNCTION"), "{}", refused.stderr);
    }
    assert_eq!(database.versions().await.last(), Some(&84));
    let verified = database.program().args(["verify", "schema"]).run().expect(4);
    assert!(
        verified.stdout.contains("DROP OPERATOR") || verified.stdout.contains("DROP FUNCTION"),
        "{}",
        verified.stdout
    );
    forget(&database).await;
    database.program().args(["up"]).run().expect(0);
    database.assert_parity_before_the_watermark().await;
}

#[tokio::test]
async fn one_function_of_somebody_else_s_is_named_with_the_statement_that_removes_it() {
    let database = TestDatabase::at_version(latest(), 20, 3).await;
    let verify = || database.program().args(["verify", "schema"]).run();
    verify().expect(0);
    let squatter = format!("squatter_{}", database.name);
    database
        .batch(&format!(
            "CREATE ROLE {squatter}; GRANT CREATE ON SCHEMA public TO PUBLIC; SET ROLE {squatter};
             CREATE FUNCTION rollup_task_usage_hourly_window(text, text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
             CREATE FUNCTION unnest(timestamptz[]) RETURNS SETOF timestamptz LANGUAGE sql AS 'SELECT now()';
             CREATE FUNCTION harmless(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'"
        ))
        .await;
    let found = verify().expect(4).stdout;
    for named in [
        "DROP FUNCTION rollup_task_usage_hourly_window(text,text);",
        "DROP FUNCTION unnest(timestamp with time zone[]);",
        "REVOKE CREATE ON SCHEMA \"public\" FROM PUBLIC;",
    ] {
        assert!(found.contains(named), "{named}: {found}");
    }
    assert!(!found.contains("harmless"), "{found}");
    // With nothing to apply, nothing is refused.
    database.program().args(["up"]).run().expect(0);
    database.batch(&format!("DROP OWNED BY {squatter}; DROP ROLE {squatter}")).await;
    // That everybody may create there is no fault in itself.
    let found = verify().expect(0).stdout;
    assert!(found.contains("REVOKE CREATE"), "{found}");
    database.batch("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    assert!(!verify().expect(0).stdout.contains("REVOKE"));
}

#[tokio::test]
async fn no_other_verb_calls_what_somebody_else_has_put_into_the_schema() {
    let database = TestDatabase::at_version(latest(), 200, 30).await;
    make_hostile(&database).await;
    let now: String = database.value("SELECT pg_catalog.to_json(pg_catalog.now()) #>> '{}'::text[]").await;
    run(database.program(), &["status"], 0);
    run(database.program(), &["up", "--dry-run"], 0);
    run(database.program(), &["rollup", "status"], 0);
    run(database.program(), &["rollup", "tick"], 0);
    run(database.program(), &["verify", "rollup"], 0);
    database.batch("UPDATE task_usage_hourly SET input_tokens = input_tokens + 1").await;
    run(database.program(), &["verify", "rollup"], 4);
    run(database.program(), &["verify", "rollup", "--fix"], 0);
    // Every way in which a change is reported, and the drain of it.
    database
        .batch(
            "UPDATE task_usage SET created_at = created_at - interval '3 hours' WHERE provider = 'claude';
             DELETE FROM task_usage WHERE id IN (SELECT id FROM task_usage LIMIT 5);
             UPDATE agent_task_queue SET issue_id = NULL;
             UPDATE issue SET project_id = NULL;
             DELETE FROM issue;
             TRUNCATE task_usage_hourly_dirty",
        )
        .await;
    run(database.program(), &["rollup", "tick"], 0);
    run(database.program(), &["verify", "rollup"], 0);
    run(database.program(), &["repair", "codex-cache", "--cutoff", &now], 0);
    run(database.program(), &["repair", "codex-cache", "--cutoff", &now, "--execute", "--batch-size", "7"], 0);
    run(database.program(), &["repair", "runs"], 0);
    run(database.program(), &["repair", "undo", "1"], 0);
    run(database.program(), &["repair", "undo", "1", "--execute"], 0);
    run(database.program(), &["repair", "hourly-rollup"], 0);
    run(database.program(), &["repair", "hourly-rollup", "--execute"], 0);
    run(database.program(), &["verify", "history"], 0);
    forget(&database).await;
}

#[tokio::test]
async fn a_superuser_does_not_let_a_schema_before_pg_catalog_decide() {
    let database = TestDatabase::empty().await;
    let name = &database.name;
    database
        .batch(&format!(
            "CREATE ROLE {name}_evil;
             CREATE SCHEMA evil AUTHORIZATION {name}_evil;
             CREATE FUNCTION evil.same(name, name) RETURNS boolean LANGUAGE plpgsql AS
             $f$ BEGIN RAISE EXCEPTION 'hostile'; END $f$;
             CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
             ALTER DATABASE {name} SET search_path = evil, pg_catalog, public"
        ))
        .await;
    for command in [&["up"][..], &["up", "--dry-run"], &["status"]] {
        let refused = database.program().args(command.iter().copied()).run().expect(7);
        assert!(refused.stderr.contains("the search path names it before pg_catalog"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("hostile"), "{}", refused.stderr);
    }
    // Of a superuser's own schema there is nothing to fear.
    database.batch("ALTER SCHEMA evil OWNER TO CURRENT_USER; DROP OPERATOR evil.= (name, name)").await;
    database.program().args(["status"]).run().expect(0);
    database.batch(&format!("DROP ROLE {name}_evil")).await;
}
