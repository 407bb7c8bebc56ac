//! Everything that can be wrong with the way to the database: one clear line, the right exit code, no password.

use crate::harness::{
    Finished, Program, TestDatabase, server_url, session, special_server, with_authority, with_database,
};

/// Expects one line that says all of `parts`.
#[track_caller]
fn one_line(ended: Finished, exit: i32, parts: &[&str]) {
    let ended = ended.expect(exit);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

fn up(url: &str) -> Finished {
    Program::new().env("DATABASE_URL", url).args(["up"]).run()
}

#[tokio::test]
async fn there_is_no_default_database() {
    one_line(Program::new().args(["up"]).run(), 2, &["no database given", "set DATABASE_URL"]);
    one_line(Program::new().env("DATABASE_URL", " ").args(["status"]).run(), 2, &["no database given"]);
}

#[tokio::test]
async fn a_malformed_url_is_wrong_usage() {
    for url in ["postgres://u:s3cret@h:x/d", "mysql://u:s3cret@h/d", "s3cret", "postgres://u:s3cret@h"] {
        one_line(up(url), 2, &["the database URL cannot be used", "postgres://user:password@host:port/database"]);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let url = with_authority(&server_url(), Some("app:s3cret"), Some("127.0.0.1:1"));
    one_line(up(&url), 6, &["cannot connect to app@127.0.0.1:1/", "refused", "check that the server is running"]);
    one_line(
        up("postgres://app:s3cret@no-such-host.invalid/d"),
        6,
        &["cannot connect to app@no-such-host.invalid:5432/d"],
    );
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let url = with_authority(&server_url(), Some("postgres:s3cret"), None);
    one_line(up(&url), 6, &["password authentication failed", "check user and password"]);
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let url = with_database(&server_url(), "no_such_database");
    one_line(up(&url), 6, &["database \"no_such_database\" does not exist", "createdb"]);
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_to_grant() {
    let database = TestDatabase::empty().await;
    let role = format!("{}_poor", database.name);
    database.batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'")).await;
    let url = with_authority(&database.url, Some(&format!("{role}:s3cret")), None);
    one_line(up(&url), 7, &["may not create objects in schema public", "GRANT CREATE ON SCHEMA \"public\""]);

    database.batch(&format!("GRANT CREATE ON SCHEMA public TO {role}")).await;
    one_line(up(&url), 7, &["may not write the history in the schema migrate", "GRANT CREATE ON DATABASE"]);

    database.batch(&format!("ALTER ROLE {role} SET search_path TO nowhere")).await;
    one_line(up(&url), 7, &["names no schema that exists"]);

    database
        .batch(&format!("ALTER ROLE {role} RESET search_path; GRANT CREATE ON DATABASE {} TO {role}", database.name))
        .await;
    up(&url).expect(0);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn the_flag_goes_before_the_environment() {
    let database = TestDatabase::empty().await;
    let nowhere = with_authority(&server_url(), None, Some("127.0.0.1:1"));
    Program::new()
        .env("DATABASE_URL", &nowhere)
        .env("MIGRATE_DATABASE_URL", &nowhere)
        .args(["status", "--database-url", &database.url])
        .run()
        .expect(0);
    Program::new()
        .env("DATABASE_URL", &nowhere)
        .env("MIGRATE_DATABASE_URL", &database.url)
        .args(["status"])
        .run()
        .expect(0);
}

#[tokio::test]
async fn limits_meant_for_the_application_do_not_end_an_upgrade() {
    let database = TestDatabase::at_version(84, 3000, 200).await;
    database
        .batch(&format!(
            "ALTER DATABASE {0} SET statement_timeout TO '40ms';
             ALTER DATABASE {0} SET idle_in_transaction_session_timeout TO '40ms';
             ALTER DATABASE {0} SET default_transaction_isolation TO 'serializable'",
            database.name
        ))
        .await;
    database.program().args(["up"]).run().expect(0);
    database.batch(&format!("ALTER DATABASE {} RESET ALL", database.name)).await;
    database.assert_parity().await;
}

#[tokio::test]
async fn a_password_in_the_wrong_place_is_not_quoted() {
    for args in [
        &["up", "postgres://u:s3cret@h/d"][..],
        &["up", "--lock-wait", "postgres://u:s3cret@h/d"],
        &["up", "--target=postgres://u:s3cret@h/d"],
        &["postgres://u:s3cret@h/d"],
        &["up", "--database-url", "postgres://app:p@s3cret@127.0.0.1:1/d"],
        &["up", "--database-url", "postgres://app@127.0.0.1:1/d?password=a&s3cret=1"],
    ] {
        let ended = Program::new().args(args.iter().copied()).run().expect(2);
        assert!(!ended.stderr.contains("s3cret") && ended.stdout.is_empty(), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_role_that_may_not_read_the_history_is_told_what_to_grant() {
    let database = TestDatabase::at_version(84, 0, 0).await;
    let role = format!("{}_blind", database.name);
    database
        .batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'; GRANT CREATE ON SCHEMA public TO {role}"))
        .await;
    let url = with_authority(&database.url, Some(&format!("{role}:s3cret")), None);
    one_line(up(&url), 7, &["may not read the history in the schema migrate", "GRANT USAGE ON SCHEMA migrate"]);
    database.batch(&format!("GRANT ALL ON SCHEMA migrate TO {role}")).await;
    one_line(up(&url), 7, &["GRANT SELECT ON ALL TABLES IN SCHEMA migrate"]);
    database.batch(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA migrate TO {role}")).await;
    Program::new().env("DATABASE_URL", &url).args(["status"]).run().expect(0);
    one_line(up(&url), 7, &["table task_usage belongs to role postgres", "does not have its rights"]);
    database.give_to(&role).await;
    one_line(up(&url), 7, &["GRANT ALL ON ALL TABLES IN SCHEMA migrate"]);
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn no_output_at_any_verbosity_holds_the_password() {
    let database = TestDatabase::empty().await;
    let role = format!("{}_owner", database.name);
    database.batch(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 's3cret'")).await;
    let url = with_authority(&database.url, Some(&format!("{role}:s3cret")), None);
    for args in [&["up", "-vv", "--dry-run"][..], &["up", "-vv"], &["status", "-vv"], &["up", "--help"]] {
        let ended = Program::new().env("DATABASE_URL", &url).args(args.iter().copied()).run().expect(0);
        assert!(!ended.stdout.contains("s3cret") && !ended.stderr.contains("s3cret"), "{args:?}");
    }
    database.batch(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn encryption_is_what_sslmode_says() {
    let (url, folder) = special_server("tls", &["--tls"]);
    let certificate = folder.join("server.crt").display().to_string();
    let with = |options: &str| Program::new().env("DATABASE_URL", &format!("{url}?{options}")).args(["status"]).run();

    with("sslmode=require").expect(0);
    with(&format!("sslmode=verify-full&sslrootcert={certificate}")).expect(0);
    one_line(
        with("sslmode=verify-full"),
        6,
        &["certificate is not one that is trusted here", "check sslmode and sslrootcert"],
    );
    one_line(with("sslmode=verify-ca&sslrootcert=/nowhere.pem"), 2, &["/nowhere.pem has none"]);

    // The certificate names 127.0.0.1 only.
    let by_name = |mode: &str| {
        let url = with_authority(&url, None, None).replace("@127.0.0.1:", "@localhost:");
        Program::new()
            .env("DATABASE_URL", &format!("{url}?sslmode={mode}&sslrootcert={certificate}"))
            .args(["status"])
            .run()
    };
    by_name("verify-ca").expect(0);
    one_line(by_name("verify-full"), 6, &["certificate not valid for name"]);

    // Encrypted without being asked, where the server can; every session of a run, and its cancel requests.
    let admin = session(&url).await;
    let seen = admin
        .query_one("SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl", &[])
        .await
        .unwrap();
    assert_eq!(seen.get::<_, i64>(0), 0, "the test's own session is not encrypted");
    let holder = session(&url).await;
    holder.batch_execute("SELECT pg_advisory_lock(7244554146635925501)").await.unwrap();
    let runner = Program::new().env("DATABASE_URL", &url).args(["up"]).start();
    let encrypted = "SELECT count(*) = 2 FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                     WHERE s.ssl AND a.application_name LIKE 'migrate%'";
    for _ in 0..400 {
        if admin.query_one(encrypted, &[]).await.unwrap().get(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(admin.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0));
    runner.signal("TERM");
    runner.wait().expect(143);

    // A server that cannot, and a caller who insists.
    one_line(
        Program::new().env("DATABASE_URL", &format!("{}?sslmode=require", server_url())).args(["status"]).run(),
        6,
        &["does not support TLS"],
    );
}
