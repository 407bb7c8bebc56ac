//! Everything that can be wrong with the way to the database: one clear line, the right exit code, no password.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use crate::harness::{Finished, Program, TestDatabase, server_url, session, with_authority, with_database};

/// Expects one line that says all of `parts`.
#[track_caller]
pub fn one_line(ended: Finished, exit: i32, parts: &[&str]) {
    let ended = ended.expect(exit);
    assert_eq!(ended.told().lines().count(), 1, "{}", ended.stderr);
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
    one_line(up(&url), 6, &["database \"no_such_database\" does not exist", "create it: psql 'postgres://"]);
}

#[tokio::test]
async fn the_command_for_a_missing_database_creates_it_on_the_server_of_the_url() {
    let url = with_database(&server_url(), "it%27s%20%22missing%22");
    let refused = up(&url).expect(6);
    let (_, command) = refused.stderr.split_once("create it: ").expect("a command");
    let (credentials, _) = url.strip_prefix("postgres://").and_then(|url| url.split_once('@')).unwrap();
    let created = Command::new("sh")
        .args(["-c", command])
        .envs([("PGPASSWORD", credentials.split_once(':').unwrap().1), ("PGHOST", "nowhere.invalid"), ("PGPORT", "1")])
        .status();
    assert!(created.expect("a shell").success(), "{command}");
    up(&url).expect(0);
    let admin = session(&server_url()).await;
    admin.batch_execute(r#"DROP DATABASE "it's ""missing""" WITH (FORCE)"#).await.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_is_not_said_to_be_down() {
    let database = TestDatabase::empty().await;
    for (option, said) in [
        ("options=-cno_such_setting%3D1", "check options in the database URL"),
        ("options=-cwork_mem%3Dmuch", "check options in the database URL"),
        ("options=--no-such-flag%3D1", "check options in the database URL"),
        ("target_session_attrs=read-only", "read-only"),
    ] {
        let refused = up(&format!("{}?{option}", database.url)).expect(6);
        assert!(refused.stderr.contains(said), "{option}: {}", refused.stderr);
        assert!(!refused.stderr.contains("is running"), "{option}: {}", refused.stderr);
    }
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
async fn a_mistake_beside_a_url_is_quoted() {
    const URL: &str = "postgres://u:s3cret@h/d";
    for (args, quoted) in [
        (&["--database-url", URL, "--formt", "json", "up"][..], "'--formt'"),
        (&["--database-url", URL, "--format", "d", "up"], "'d'"),
        (&["--database-url", URL, "up", "sideways"], "'sideways'"),
        (&["--databse-url", URL, "up"], "'--databse-url'"),
        (&["--databse-url=postgres://u:s3cret@h/d", "up"], "'--databse-url'"),
        (&["up", "--database-url"], "'--database-url <URL>'"),
    ] {
        let ended = Program::new().args(args.iter().copied()).run().expect(2);
        assert!(ended.stderr.contains(quoted) && !ended.stderr.contains("s3cret"), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_password_in_the_wrong_place_is_not_quoted() {
    for args in [
        &["up", "postgres://u:s3cret@h/d"][..],
        &["up", "--lock-wait", "postgres://u:s3cret@h/d"],
        &["up", "--target=postgres://u:s3cret@h/d"],
        &["up", "--set", "postgres://u:s3cret@h/d"],
        &["up", "--databse-url=postgres://u:s3cret@h/d"],
        &["rollup", "watch", "--every", "postgres://u:s3cret@h/d"],
        &["verify", "rollup", "--workspace-id", "postgres://u:s3cret@h/d"],
        &["repair", "codex-cache", "--cutoff", "postgres://u:s3cret@h/d"],
        &["repair", "undo", "postgres://u:s3cret@h/d"],
        &["up", "--database-url", "postgres://u:two", "s3cret@h/d"],
        &["up", "--database-url", "host=h", "password=s3cret", "dbname=d"],
        &["postgres://u:s3cret@h/d"],
        &["up", "--databse-url", "postgres://u:s3cret@h/d"],
        &["up", "--skip-hook", "postgres://u:s3cret@h/d"],
        &["up", "--dir", "postgres://u:s3cret@h/d"],
        &["repair", "codex-cache", "--report", "postgres://u:s3cret@h/d", "--cutoff", "2026-01-01T00:00:00Z"],
        &["--database-url", "postgres://u:s3cret@h/d", "--database-url=postgres://u:s3cret@h/d", "up"],
        &["--database-url", "postgres://u:two", "repair", "undo", "--s3cret@h/d"],
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
    one_line(up(&url), 7, &["GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate"]);
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
async fn a_password_that_is_not_escaped_is_refused_before_anybody_is_asked() {
    for url in [
        "postgres://app:p@s3cret/w0rd@127.0.0.1/usage",
        "postgres://app:p@s3cret@127.0.0.1/usage",
        "postgres://app:s3cret/w0rd@127.0.0.1/usage",
        "postgres://app:12/s3cret@127.0.0.1/usage",
        "postgres://app:p@s3?cret@127.0.0.1/usage",
        "postgres://app:100%s3cret@127.0.0.1/usage",
        "postgres://app:p@s3cret#w0rd/usage",
        "postgres://app:p@127.0.0.1:s3cret/usage",
    ] {
        one_line(
            up(url),
            2,
            &["the database URL cannot be used: ", "write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25"],
        );
    }
    for keywords in [
        "host=h user=app dbname=d password='s3cret",
        "host=h dbname=d user= password=s3cret",
        "password=my s3cret host=h",
    ] {
        one_line(up(keywords), 2, &["the database URL cannot be used: ", "write ' as \\' and \\ as \\\\"]);
    }
}

#[tokio::test]
async fn what_is_not_text_is_no_url_and_not_passed_over() {
    let database = TestDatabase::empty().await;
    let odd = || OsString::from_vec(b"postgres://app:s3cret\xff@127.0.0.1:1/usage".to_vec());
    for variable in ["MIGRATE_DATABASE_URL", "DATABASE_URL"] {
        // Behind the first one stands another database, which was not meant.
        let program = Program::new().env("DATABASE_URL", &database.url).env_bytes(variable, &odd());
        one_line(program.args(["up"]).run(), 2, &[&format!("the value of {variable} is not UTF-8"), "write each byte"]);
    }
    let program = Program::new().env("DATABASE_URL", &database.url);
    one_line(
        program.args(["up", "--database-url"]).arg_bytes(&odd()).run(),
        2,
        &["the value of --database-url is not UTF-8"],
    );
    one_line(Program::new().args(["up"]).arg_bytes(&odd()).run(), 2, &["unexpected argument 'postgres://...'"]);
}

#[tokio::test]
async fn an_option_of_another_driver_is_named_with_what_to_write_instead() {
    let at = |options: &str| up(&format!("postgres://app:s3cret@127.0.0.1:1/usage?{options}"));
    for (options, named, instead) in [
        ("pool_max_conns=5", "option pool_max_conns,", "remove it"),
        ("pgbouncer=true", "option pgbouncer,", "remove it"),
        ("connection_limit=1", "option connection_limit,", "remove it"),
        ("statement-cache-capacity=0", "option statement_cache_capacity,", "remove it"),
        ("search_path=app", "option search_path,", "write options=-csearch_path%3Dapp instead"),
        ("currentSchema=app", "option currentschema,", "write options=-csearch_path%3Dapp instead"),
        ("sslcert=a.pem", "option sslcert,", "client certificates are not supported"),
        ("timezone=UTC", "option timezone,", "remove it"),
        ("SSLMODE=require", "option sslmode in another spelling", "write sslmode, in lower case"),
        ("sslmode=no-verify", "option sslmode has a wrong value", "write one of: disable, allow, prefer, require"),
        ("target_session_attrs=primary", "option target_session_attrs has a wrong value", "any, read-write, read-only"),
        ("channel_binding=maybe", "option channel_binding has a wrong value", "disable, prefer, require"),
        ("load_balance_hosts=yes", "option load_balance_hosts has a wrong value", "disable, random"),
        ("connect_timeout=s3cret", "option connect_timeout has a wrong value", "write a whole number"),
        ("sslnegotiation=direct", "option sslnegotiation has a wrong value", "sslmode=require"),
        ("s3cret=1", "an option whose name is not shown, because it may be a part of the password", "& as %26"),
    ] {
        one_line(at(options), 2, &[named, instead]);
    }
    one_line(
        up("host=127.0.0.1 port=1 user=app dbname=usage schema=app"),
        2,
        &["option schema,", "write options='-c search_path=app' instead"],
    );
}

#[tokio::test]
async fn options_that_the_driver_knows_are_passed_on() {
    let database = TestDatabase::empty().await;
    database.batch("CREATE SCHEMA app").await;
    for options in [
        "channel_binding=disable&target_session_attrs=read-write&load_balance_hosts=random&gssencmode=disable",
        "keepalives=0&keepalives_idle=5&keepalives_interval=5&keepalives_count=2&keepalives_retries=2",
        "tcp_user_timeout=30000&connect_timeout=0&client_encoding=UTF8&fallback_application_name=x&sslnegotiation=postgres",
    ] {
        let url = format!("{}?{options}", database.url);
        Program::new().env("DATABASE_URL", &url).args(["status"]).run().expect(0);
    }
    // The server, and no other one, is tried until one is there that can be written to.
    let (_, address) = database.url.split_once('@').expect("a URL with a user");
    let two = with_authority(&database.url, None, Some(&format!("127.0.0.1:1,{}", address.split('/').next().unwrap())));
    Program::new()
        .env("DATABASE_URL", &format!("{two}?target_session_attrs=read-write"))
        .args(["status"])
        .run()
        .expect(0);
    one_line(
        up(&format!("{}?channel_binding=require&sslmode=disable", database.url)),
        6,
        &["cannot connect to", "channel binding"],
    );
    let url = format!("{}?options=-csearch_path%3Dapp", database.url);
    Program::new().env("DATABASE_URL", &url).args(["up", "--target", "32"]).run().expect(0);
    assert!(database.value::<bool>("SELECT to_regclass('app.task_usage') IS NOT NULL").await);
}
