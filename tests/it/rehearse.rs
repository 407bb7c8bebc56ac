//! `rehearse` and `up --approved`.

use serde_json::Value;

use crate::harness::{
    Finished, Project, TestDatabase, release, server_url, session, special_server, standby_of,
    start_special_server_again, with_authority, with_database,
};

const MANIFEST: &str = "[set.app]\ndir = \"sql\"\n";

/// A project at version 1, with 1,000 orders in `shop.order_line`.
async fn shop(name: &str, pending: &[(&str, &str)]) -> Project {
    let project = Project::new(name, MANIFEST).await;
    project.write(
        "sql/V1__shop.sql",
        "CREATE SCHEMA shop;\n\
         CREATE TABLE shop.order_line (id int PRIMARY KEY, amount int NOT NULL);\n\
         INSERT INTO shop.order_line SELECT n, n FROM generate_series(1, 1000) n;\n",
    );
    project.run(0, &["up"]);
    for (file, text) in pending {
        project.write(&format!("sql/{file}"), text);
    }
    project
}

async fn copy_of(project: &Project) -> TestDatabase {
    TestDatabase::from_template(&project.database.name).await
}

/// Rehearses on a fresh copy and returns the document.
async fn rehearsed(project: &Project, code: i32, more: &[&str]) -> (Value, Finished) {
    let copy = copy_of(project).await;
    let file = project.folder.join("rehearsal.json");
    let _ = std::fs::remove_file(&file);
    let args = [&["rehearse", "--on", &copy.url, "--output", "rehearsal.json"], more].concat();
    let finished = project.run(code, &args);
    (serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap(), finished)
}

/// The step of a part with this title.
fn step<'v>(document: &'v Value, part: &str, title: &str) -> &'v Value {
    let parts = document["parts"].as_array().unwrap();
    let steps = parts.iter().find(|found| found["part"] == part).unwrap()["steps"].as_array().unwrap();
    steps.iter().find(|step| step["title"] == title).unwrap_or_else(|| panic!("{title} is not in {steps:?}"))
}

fn of_table<'v>(list: &'v Value, table: &str) -> &'v Value {
    let list = list.as_array().unwrap();
    list.iter().find(|found| found["table"] == table).unwrap_or_else(|| panic!("{table} is not in {list:?}"))
}

const PENDING: [(&str, &str); 6] = [
    // It holds its lock while it sleeps.
    ("V2__wide.sql", "ALTER TABLE shop.order_line ALTER amount TYPE bigint;\nSELECT pg_sleep(0.3);\n"),
    ("V2__wide.down.sql", "ALTER TABLE shop.order_line ALTER amount TYPE int;\n"),
    (
        "V3__find.sql",
        "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS order_line_amount ON shop.order_line (amount);\n",
    ),
    ("V3__find.down.sql", "DROP INDEX shop.order_line_amount;\n"),
    (
        "V4__double.sql",
        "CREATE TABLE shop.note (t text);\nUPDATE shop.order_line SET amount = amount * 2 WHERE id <= 400;\n",
    ),
    ("V4__double.down.sql", "UPDATE shop.order_line SET amount = amount / 2 WHERE id <= 400;\nDROP TABLE shop.note;\n"),
];

#[tokio::test]
async fn each_version_is_measured_and_the_way_back_leads_back() {
    let project = shop("rehearse-measure", &PENDING).await;
    let (document, finished) = rehearsed(&project, 0, &["--page", "rehearsal.html"]).await;
    assert_eq!(
        (&document["verdict"], &document["from"], &document["to"]),
        (&"passed".into(), &"1".into(), &"4".into())
    );
    let schema = &document["schema"];
    assert!(schema["same_after_way_back"] == true && schema["same_after_second_run"] == true, "{schema}");

    let wide = step(&document, "up", "V2, wide");
    assert_eq!(wide["seen_at_commit"], true);
    let lock = of_table(&wide["locks"], "shop.order_line");
    assert_eq!(lock["strongest"], "ACCESS EXCLUSIVE");
    for held in ["held_at_most", "blocked_reads_at_most", "blocked_writes_at_most"] {
        assert!(lock[held].as_f64() >= Some(0.3), "{held} in {lock}");
    }
    let work = of_table(&wide["tables"], "shop.order_line");
    // The rows are read to be written anew, and then for the index of the key.
    assert!(work["rewritten"] == true && work["scans"] == 2 && work["rows_read"] == 2000, "{work}");
    assert!(wide["wal_bytes"].as_u64() > Some(10_000), "{wide}");

    let find = step(&document, "up", "V3, find");
    assert_eq!(find["seen_at_commit"], false);
    let work = of_table(&find["tables"], "shop.order_line");
    assert_eq!(work["indexes_built"], serde_json::json!(["shop.order_line_amount"]));
    assert_eq!(work["rewritten"], false);

    let double = step(&document, "up", "V4, double");
    let work = of_table(&double["tables"], "shop.order_line");
    assert_eq!((&work["updated"], &work["inserted"]), (&400.into(), &0.into()));
    assert_eq!(of_table(&double["tables"], "shop.note")["created"], true);
    // A table that the version makes is nobody else's yet.
    assert!(double["locks"].as_array().unwrap().iter().all(|lock| lock["table"] != "shop.note"), "{double}");
    assert_eq!(of_table(&double["locks"], "shop.order_line")["blocked_writes_at_most"], 0.0);
    assert_eq!(of_table(&step(&document, "back", "V4, double, taken back")["tables"], "shop.note")["dropped"], true);

    for said in
        ["the schema after the way back is the one before", "rewritten", "400 rows updated", "locked ACCESS EXCLUSIVE"]
    {
        assert!(finished.stdout.contains(said), "{said} is not in\n{}", finished.stdout);
    }
    let page = std::fs::read_to_string(project.folder.join("rehearsal.html")).unwrap();
    assert!(page.contains("Passed") && page.contains("V3, find"), "{page}");
    // The database itself is where it was.
    let latest: i64 = project.database.value("SELECT max(version)::bigint FROM migrate.history_app").await;
    assert_eq!(latest, 1);
}

#[tokio::test]
async fn a_lock_of_a_moment_is_seen_because_it_is_looked_for_before_the_commit() {
    let moment = [("V2__moment.sql", "LOCK TABLE shop.order_line IN EXCLUSIVE MODE;\n")];
    let project = shop("rehearse-moment", &moment).await;
    let (document, _) = rehearsed(&project, 0, &[]).await;
    let lock = of_table(&step(&document, "up", "V2, moment")["locks"], "shop.order_line").clone();
    assert_eq!(lock["strongest"], "EXCLUSIVE");
    assert!(lock["blocked_reads_at_most"] == 0.0 && lock["blocked_writes_at_most"].as_f64() > Some(0.0), "{lock}");
    assert_eq!(document["without_way_back"], serde_json::json!(["V2, moment"]));
    assert_eq!(document["schema"]["same_after_way_back"], Value::Null);
}

#[tokio::test]
async fn a_way_back_that_leads_elsewhere_is_found_and_approves_nothing() {
    let elsewhere = [
        ("V2__note.sql", "ALTER TABLE shop.order_line ADD note text;\nCREATE TABLE shop.left_over (id int);\n"),
        (
            "V2__note.down.sql",
            "ALTER TABLE shop.order_line DROP note;\nALTER TABLE shop.left_over RENAME TO left_here;\n",
        ),
    ];
    let project = shop("rehearse-elsewhere", &elsewhere).await;
    let (document, finished) = rehearsed(&project, 4, &[]).await;
    assert_eq!(document["verdict"], "differs");
    let difference = document["schema"]["difference_after_way_back"].as_str().unwrap();
    assert!(difference.contains("+table shop.left_here"), "{difference}");
    assert!(finished.stdout.contains("the schema after the way back is not the one before"), "{}", finished.stdout);
    assert!(!finished.stderr.contains("--approved"), "{}", finished.stderr);
    let refused = project.run(7, &["up", "--approved", "rehearsal.json"]);
    assert!(refused.stderr.contains("the rehearsal in rehearsal.json has not passed"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_version_that_fails_is_reported_with_what_came_before_it() {
    let failing = [
        ("V2__fine.sql", "CREATE TABLE shop.fine (id int);\n"),
        ("V3__wrong.sql", "UPDATE shop.order_line SET amount = 1;\nSELECT 1 / 0;\n"),
    ];
    let project = shop("rehearse-failing", &failing).await;
    let (document, finished) = rehearsed(&project, 1, &[]).await;
    assert_eq!(document["verdict"], "failed");
    assert_eq!(step(&document, "up", "V2, fine")["finished"], true);
    let wrong = step(&document, "up", "V3, wrong");
    assert_eq!((&wrong["finished"], &wrong["seen_at_commit"]), (&false.into(), &false.into()));
    assert!(document["parts"][0]["error"].as_str().unwrap().contains("division by zero"), "{document}");
    assert!(
        finished.stderr.contains("V3__wrong.sql") && finished.stderr.contains("division by zero"),
        "{}",
        finished.stderr
    );
    project.run(7, &["up", "--approved", "rehearsal.json"]);
    assert!(!project.is_there("shop.fine").await);
}

#[tokio::test]
async fn a_run_is_held_to_what_was_rehearsed() {
    let project = shop("rehearse-approved", &PENDING).await;
    rehearsed(&project, 0, &[]).await;
    let refused = |says: &str| {
        let refused = project.run(7, &["up", "--approved", "rehearsal.json", "--evidence", "evidence"]);
        assert!(refused.stderr.contains(says), "{says} is not in {}", refused.stderr);
        assert!(refused.stderr.contains("nothing was done; rehearse again"), "{}", refused.stderr);
        assert!(!project.folder.join("evidence").exists());
    };
    // Another text under the same name.
    let (file, text) = PENDING[4];
    project.write(&format!("sql/{file}"), &text.replace("400", "500"));
    refused("the text of V4, double is another one");
    project.write(&format!("sql/{file}"), text);
    // One more, one less, another beginning.
    project.write("sql/V5__late.sql", "SELECT 1;\n");
    refused("it leads to version 5, and the rehearsal to 4");
    std::fs::remove_file(project.folder.join("sql/V5__late.sql")).unwrap();
    project.run(0, &["up", "--target", "2"]);
    refused("it begins at version 2, and the rehearsal at 1");
    let versions: String =
        project.database.value("SELECT string_agg(version::text, ' ' ORDER BY version) FROM migrate.history_app").await;
    assert_eq!(versions, "1 2");
    // The way back is part of what was rehearsed.
    rehearsed(&project, 0, &[]).await;
    let (file, text) = PENDING[5];
    project.write(&format!("sql/{file}"), &format!("{text}-- another\n"));
    refused("the way back of V4, double is another one");
    std::fs::remove_file(project.folder.join("sql").join(file)).unwrap();
    refused("the way back of V4, double is another one");
    project.write(&format!("sql/{file}"), text);
    // What was rehearsed goes through, and its evidence says what the rehearsal has found.
    rehearsed(&project, 0, &[]).await;
    project.database.batch("CREATE INDEX by_hand ON shop.order_line (amount DESC)").await;
    let told = project.run(0, &["up", "--approved", "rehearsal.json", "--evidence", "evidence"]);
    let warning = "warning: the schema is not the one of the copy that was rehearsed on";
    assert!(told.stderr.contains(warning), "{}", told.stderr);
    let read = |file: &str| std::fs::read_to_string(project.folder.join("evidence").join(file)).unwrap();
    assert!(
        read("rollback.txt").contains("the schema after the way back was the one before"),
        "{}",
        read("rollback.txt")
    );
    assert!(read("SHA256SUMS").contains("rehearsal.json"), "{}", read("SHA256SUMS"));
    assert_eq!(read("rehearsal.json"), std::fs::read_to_string(project.folder.join("rehearsal.json")).unwrap());
    project.run(0, &["verify", "evidence", "evidence"]);
    // With nothing to do, there is nothing to hold it to.
    project.run(0, &["up", "--approved", "rehearsal.json"]);
}

#[tokio::test]
async fn what_is_no_rehearsal_approves_nothing() {
    let project = shop("rehearse-wrong-file", &PENDING).await;
    project.write("no.json", "{}");
    project.write("other.json", &std::fs::read_to_string(project.folder.join("migrate.toml")).unwrap());
    for (file, says) in
        [("none.json", "could not read none.json"), ("no.json", "no.json is not the result of a rehearsal")]
    {
        let refused = project.run(2, &["up", "--approved", file]);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
    project.run(2, &["up", "--approved", "other.json"]);
    assert!(!project.is_there("shop.note").await);
}

#[tokio::test]
async fn the_database_itself_and_one_that_others_use_are_no_copies() {
    let project = shop("rehearse-no-copy", &PENDING).await;
    let itself = project.database.url.replace("127.0.0.1", "localhost");
    let refused = project.run(7, &["rehearse", "--on", &itself]);
    assert!(refused.stderr.contains("is the database itself, not a copy of it"), "{}", refused.stderr);
    let copy = copy_of(&project).await;
    let other = copy.session().await;
    other.batch_execute("SET application_name TO 'the shop'").await.unwrap();
    let refused = project.run(7, &["rehearse", "--on", &copy.url]);
    assert!(refused.stderr.contains("1 other session uses"), "{}", refused.stderr);
    assert!(refused.stderr.contains("(the shop), so it may not be a copy"), "{}", refused.stderr);
    assert_eq!(copy.value::<i64>("SELECT max(version)::bigint FROM migrate.history_app").await, 1);
    let beside = project.run(0, &["rehearse", "--on", &copy.url, "--in-use"]);
    assert!(beside.stdout.contains("sessions of others used the copy meanwhile"), "{}", beside.stdout);
    drop(other);
    let where_then = project.run(2, &["rehearse"]);
    assert!(where_then.stderr.contains("pass --on URL, a restored backup, or --scratch"), "{}", where_then.stderr);
    // A result of yesterday must not pass for that of today.
    project.write("old.json", "{}");
    let there = project.run(2, &["rehearse", "--on", &copy.url, "--output", "old.json"]);
    assert!(there.stderr.contains("is there already"), "{}", there.stderr);
}

#[tokio::test]
async fn a_database_that_has_another_history_is_no_copy() {
    let project = shop("rehearse-other-history", &PENDING).await;
    let other = TestDatabase::empty().await;
    other.batch("CREATE TABLE customers (id int)").await;
    // The session of that ends when the runtime has a moment.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let refused = project.run(7, &["rehearse", "--on", &other.url]);
    let alone = crate::harness::Program::new().current_dir(&project.folder).args(["rehearse", "--on", &other.url]);
    let alone = alone.run().expect(7);
    assert!(alone.stderr.contains("has tables, and no history of set app"), "{}", alone.stderr);
    let says = "is at version 0 with 4 migrations pending, and";
    assert!(refused.stderr.contains(says) && refused.stderr.contains("is no copy of it"), "{}", refused.stderr);
    // Nor is one that a rehearsal has been played on.
    let copy = copy_of(&project).await;
    let done = project.run(0, &["rehearse", "--on", &copy.url, "--target", "2", "--output", "two.json"]);
    let next = done.stderr.lines().find_map(|line| line.strip_prefix("next: migrate ")).unwrap();
    assert_eq!(next, "up --target 2 --approved two.json");
    let again = project.run(7, &["rehearse", "--on", &copy.url]);
    assert!(again.stderr.contains("A copy serves for one rehearsal"), "{}", again.stderr);
    // What is made from a template would have what a rehearsal leaves.
    let template = copy_of(&project).await;
    template.batch(&format!("ALTER DATABASE {} IS_TEMPLATE true", template.name)).await;
    let refused = project.run(7, &["rehearse", "--on", &template.url]);
    template.batch(&format!("ALTER DATABASE {} IS_TEMPLATE false", template.name)).await;
    assert!(refused.stderr.contains("is a template"), "{}", refused.stderr);
    // The command that is told next works.
    project.run(0, &next.split(' ').collect::<Vec<_>>());
}

#[tokio::test]
async fn the_primary_of_a_standby_is_no_copy_of_it() {
    let (url, folder) = special_server("rehearse-primary", &[]);
    let standby = standby_of(&folder, "rehearse-standby");
    start_special_server_again(&folder);
    let primary = TestDatabase::on_server(&url, "shop").await;
    primary.program().args(["--set", "usage-events", "up", "--target", "2"]).run().expect(0);
    let standby = with_database(&standby, "shop");
    let replicated = async || {
        let session = tokio_postgres::connect(&standby, tokio_postgres::NoTls).await;
        let Ok((client, connection)) = session else { return false };
        tokio::spawn(connection);
        client
            .query("SELECT FROM migrate.history_usage_events WHERE version = 2", &[])
            .await
            .is_ok_and(|rows| rows.len() == 1)
    };
    while !replicated().await {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let program = crate::harness::Program::new().env("DATABASE_URL", &standby);
    let refused = program.args(["--set", "usage-events", "rehearse", "--on", &primary.url, "--in-use"]).run().expect(7);
    assert!(refused.stderr.contains("is the database itself, not a copy of it"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_session_of_another_role_is_seen_by_one_that_may_see_little() {
    let project = shop("rehearse-weak", &PENDING).await;
    let copy = copy_of(&project).await;
    let name = &copy.name;
    let admin = session(&server_url()).await;
    admin.batch_execute(&format!("CREATE ROLE {name}_weak LOGIN PASSWORD 'weak'")).await.unwrap();
    let other = copy.session().await;
    let url = with_authority(&copy.url, Some(&format!("{name}_weak:weak")), None);
    let refused = project.run(7, &["rehearse", "--on", &url]);
    assert!(refused.stderr.contains("1 other session uses"), "{}", refused.stderr);
    drop(other);
    admin.batch_execute(&format!("DROP ROLE {name}_weak")).await.unwrap();
}

async fn made_for_rehearsals() -> i64 {
    let admin = session(&server_url()).await;
    let made = "SELECT count(*) FROM pg_database WHERE datname LIKE 'migrate\\_rehearsal\\_%'
                AND datdba = (SELECT oid FROM pg_roles WHERE rolname = 'scratcher')";
    admin.query_one(made, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_database_made_for_it_is_dropped_whatever_happens() {
    let project = shop("rehearse-scratch", &PENDING).await;
    let admin = session(&server_url()).await;
    admin
        .batch_execute("DROP ROLE IF EXISTS scratcher; CREATE ROLE scratcher LOGIN SUPERUSER PASSWORD 'scr4tch'")
        .await
        .unwrap();
    let url = with_authority(&project.database.url, Some("scratcher:scr4tch"), None);
    let program = |args: &[&str]| {
        let program = project.database.program().env("DATABASE_URL", &url).current_dir(&project.folder);
        program.args(args.iter().copied())
    };
    let done = program(&["rehearse", "--scratch", "--format", "json"]).run().expect(0);
    let found = &done.events("rehearsed")[0];
    assert_eq!((&found["verdict"], &found["made_for_it"]), (&"passed".into(), &true.into()));
    assert!(!done.stdout.contains("scr4tch") && !done.stderr.contains("scr4tch"), "{}", done.stdout);
    assert_eq!(of_table(&step(found, "up", "V4, double")["tables"], "shop.order_line")["updated"], 400);
    assert_eq!(made_for_rehearsals().await, 0);

    let no_rows = program(&["rehearse", "--scratch", "--rows", "5"]).run().expect(2);
    assert!(no_rows.stderr.contains("set app has no made-up rows for version 1"), "{}", no_rows.stderr);
    project.write("sql/V5__wrong.sql", "SELECT 1 / 0;\n");
    program(&["rehearse", "--scratch"]).run().expect(1);
    assert_eq!(made_for_rehearsals().await, 0);

    project.write("sql/V5__wrong.sql", "SELECT pg_sleep(60);\n");
    let sleeping = program(&["rehearse", "--scratch", "--output", "never.json"]).start();
    let admin_sees = "SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE datname LIKE 'migrate\\_rehearsal\\_%' AND usename = 'scratcher' AND wait_event = 'PgSleep')";
    project.database.wait_until(admin_sees).await;
    sleeping.signal("TERM");
    sleeping.wait().expect(143);
    assert_eq!(made_for_rehearsals().await, 0);
    assert!(!project.folder.join("never.json").exists());

    // One that is killed leaves it, and the next one says so.
    let sleeping = program(&["rehearse", "--scratch"]).start();
    project.database.wait_until(admin_sees).await;
    sleeping.signal("KILL");
    sleeping.wait();
    assert_eq!(made_for_rehearsals().await, 1);
    project.database.wait_until(&format!("SELECT NOT ({})", admin_sees.strip_prefix("SELECT ").unwrap())).await;
    std::fs::remove_file(project.folder.join("sql/V5__wrong.sql")).unwrap();
    let next = program(&["rehearse", "--scratch"]).run().expect(0);
    let told =
        next.stderr.lines().find(|line| line.contains("was killed")).unwrap_or_else(|| panic!("{}", next.stderr));
    let drop = told.split_once("; ").unwrap().1.strip_suffix(" removes it").unwrap();
    admin.batch_execute(drop).await.unwrap();

    // A role that works here, and may not create a database.
    admin.batch_execute("ALTER ROLE scratcher NOSUPERUSER").await.unwrap();
    project
        .database
        .batch(
            "GRANT CREATE ON SCHEMA public TO scratcher;
             ALTER SCHEMA shop OWNER TO scratcher;
             ALTER SCHEMA migrate OWNER TO scratcher;
             DO $$
             DECLARE v_table regclass;
             BEGIN
                 FOR v_table IN SELECT oid FROM pg_class
                     WHERE relkind = 'r' AND relnamespace IN ('shop'::regnamespace, 'migrate'::regnamespace)
                 LOOP
                     EXECUTE format('ALTER TABLE %s OWNER TO scratcher', v_table);
                 END LOOP;
             END $$",
        )
        .await;
    let refused = program(&["rehearse", "--scratch"]).run().expect(7);
    assert!(
        refused.stderr.contains("role scratcher may not create a database for the rehearsal"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("ALTER ROLE \"scratcher\" CREATEDB"), "{}", refused.stderr);
}

#[tokio::test]
async fn an_upgrade_of_the_platform_is_rehearsed_on_a_copy_and_held_to_it() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    let copy = TestDatabase::from_template(&database.name).await;
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rehearse-platform-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let run = |args: &[&str]| database.program().current_dir(&folder).args(args.iter().copied()).run().expect(0);
    run(&["rehearse", "--on", &copy.url, "--output", "r.json"]);
    let document: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("r.json")).unwrap()).unwrap();
    let backfill = step(&document, "up", "hook hourly-backfill");
    assert!(of_table(&backfill["tables"], "public.task_usage_hourly")["inserted"].as_u64() > Some(1000), "{backfill}");
    assert_eq!(
        of_table(&step(&document, "up", "V103, drop_legacy_daily_rollups")["tables"], "public.task_usage_daily")["dropped"],
        true
    );
    run(&["up", "--approved", "r.json", "--evidence", "evidence"]);
    database.assert_parity().await;
    run(&["verify", "evidence", "evidence"]);
}

#[tokio::test]
async fn the_windows_of_usage_events_rewrite_nothing_and_lead_back() {
    let database = TestDatabase::empty().await;
    let of = |args: &[&str]| crate::usage_events::of(&database).args(args.iter().copied()).run().expect(0);
    of(&["up", "--target", "2"]);
    let done = of(&["rehearse", "--scratch", "--rows", "50000", "--format", "json"]);
    let found = &done.events("rehearsed")[0];
    assert_eq!((&found["verdict"], &found["made_up_rows"]), (&"passed".into(), &50_000.into()));
    assert_eq!(found["schema"]["same_after_way_back"], true);
    let work = of_table(&step(found, "up", "V3, usage_event_windows")["tables"], "public.usage_events").clone();
    assert_eq!((&work["rewritten"], &work["updated"]), (&false.into(), &0.into()), "{work}");
    assert_eq!(work["indexes_built"], serde_json::json!(["public.usage_admin_bucket_idx"]));
}
