//! `--evidence DIR` and `verify evidence DIR`: the folder of a run is complete, or says that it is not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Finished, Program, TestDatabase, latest, release};

const FILES: [&str; 13] = [
    "SHA256SUMS",
    "checks.json",
    "checks.txt",
    "environment.json",
    "index.html",
    "plan.json",
    "plan.sql",
    "rollback.txt",
    "run.log",
    "schema-after.txt",
    "schema-before.txt",
    "schema.diff",
    "verdict.json",
];

/// A folder of migrations, and beside it the place for evidence, which does not exist yet.
pub struct Case {
    pub database: TestDatabase,
    pub folder: PathBuf,
}

impl Case {
    pub async fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("evidence-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("sql")).unwrap();
        let case = Self { database: TestDatabase::empty().await, folder };
        for (file, text) in files {
            case.write(file, text);
        }
        case
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join("sql").join(file), text).unwrap();
    }

    /// A command on the folder of migrations.
    pub fn program(&self, args: &[&str]) -> Program {
        self.database.program().current_dir(&self.folder).args(["--dir", "sql"]).args(args.iter().copied())
    }

    pub fn run(&self, args: &[&str], code: i32) -> Finished {
        self.program(args).run().expect(code)
    }

    pub fn evidence(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the evidence.
    pub fn text(&self, name: &str, file: &str) -> String {
        std::fs::read_to_string(self.evidence(name).join(file)).unwrap()
    }

    pub fn verdict(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name, "verdict.json")).unwrap()
    }

    /// What `verify evidence` says, with the database of this case.
    pub fn verify(&self, name: &str, code: i32) -> String {
        self.run(&["verify", "evidence", name], code).stdout
    }

    /// Fails unless the folder is whole, by the system's own `sha256sum`.
    #[track_caller]
    pub fn assert_complete(&self, name: &str) {
        let folder = self.evidence(name);
        let mut there: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        assert_eq!(there, FILES, "{name}");
        let sums =
            Command::new("sha256sum").args(["-c", "--strict", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
        assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
        assert_eq!(String::from_utf8_lossy(&sums.stdout).lines().count(), FILES.len() - 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("plan.sql"))), (0o700, 0o600));
    }
}

pub const ONE: (&str, &str) =
    ("V1__one.sql", "CREATE TABLE one (id bigint PRIMARY KEY, note text NOT NULL DEFAULT '');\n");
const ONE_DOWN: (&str, &str) = ("V1__one.down.sql", "DROP TABLE one;\n");
pub const SLOW: (&str, &str) = ("V2__slow.sql", "CREATE TABLE two (id int);\nSELECT pg_sleep(60);\n");

/// Waits until the migration [`SLOW`] is at work.
pub async fn until_it_sleeps(case: &Case) {
    let sleeps = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                  AND query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid())";
    case.database.wait_until(sleeps).await;
}

/// Ends its sleep, so that it fails; or all of it.
pub async fn end_the_sleep(case: &Case) {
    let end = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()
               AND query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()";
    assert!(case.database.value::<i64>(end).await >= 1);
}

#[tokio::test]
async fn a_run_leaves_a_folder_that_shows_what_was_sent_and_what_it_has_left() {
    let index = "-- migrate: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one_note ON one (note);\n";
    let case = Case::new("up", &[ONE, ONE_DOWN, ("V2__index.sql", index)]).await;
    let up = case.run(&["up", "--evidence", "ev"], 0);
    assert!(up.stderr.contains("the evidence is in ev: done; its SHA256SUMS has the SHA-256 "), "{}", up.stderr);
    case.assert_complete("ev");

    let plan = case.text("ev", "plan.sql");
    assert!(plan.contains(ONE.1) && plan.contains("CREATE INDEX CONCURRENTLY IF NOT EXISTS one_note ON one (note)\n"));
    let [one, index] = [plan.find("V1, one").unwrap(), plan.find("V2, index").unwrap()];
    assert!(one < index, "{plan}");
    let plan: Value = serde_json::from_str(&case.text("ev", "plan.json")).unwrap();
    assert_eq!(plan["steps"][0]["sql"], ONE.1);
    assert_eq!(case.verdict("ev")["plan_digest"], plan["digest"]);
    assert_eq!(case.verdict("ev")["verdict"], "done");

    let log = case.text("ev", "run.log");
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["time"].is_string()), "{log}");
    let applied = events.iter().filter(|event| event["event"] == "migration_applied").count();
    assert_eq!(applied, 2, "{log}");

    assert!(!case.text("ev", "schema-before.txt").contains("table public.one"));
    assert_eq!(case.text("ev", "schema-after.txt"), case.run(&["snapshot"], 0).stdout);
    assert!(case.text("ev", "schema.diff").contains("+table public.one\n"));
    let checks = case.text("ev", "checks.txt");
    for line in [
        "Table \"public.one\"",
        " note   | text   | not null | ''::text",
        "    \"one_pkey\" PRIMARY KEY, btree (id)",
        "    \"one_note\" btree (note)",
        "passed       invalid indexes  there is none in this database",
    ] {
        assert!(checks.contains(line), "{line} is not in\n{checks}");
    }
    let back = case.text("ev", "rollback.txt");
    assert!(back.contains("There is no command that takes all of it back") && back.contains(ONE_DOWN.1), "{back}");

    assert!(case.verify("ev", 0).contains("the schema of the database is as the run left it"));
    let without = Program::new().current_dir(&case.folder).args(["verify", "evidence", "ev"]).run().expect(0);
    assert!(without.stdout.contains("the database was not compared: no URL is given"), "{}", without.stdout);
    let away = ["verify", "evidence", "ev", "--database-url", "postgres://nobody@127.0.0.1:1/none"];
    case.run(&away, 6);
    case.database.batch("ALTER TABLE one ADD COLUMN more int").await;
    let differs = case.verify("ev", 4);
    assert!(
        differs.contains("+    column more integer") && differs.contains("no longer as the run left it"),
        "{differs}"
    );
}

#[tokio::test]
async fn the_same_plan_has_the_same_digest_in_every_database_and_another_plan_another() {
    let case = Case::new("digest", &[ONE]).await;
    let digest = |name: &str| -> String {
        let plan: Value = serde_json::from_str(&case.text(name, "plan.json")).unwrap();
        plan["digest"].as_str().unwrap().to_owned()
    };
    case.run(&["up", "--evidence", "first"], 0);
    let other = TestDatabase::empty().await;
    let url = other.url.clone();
    case.program(&["up", "--evidence", "second", "--database-url", &url]).run().expect(0);
    assert_eq!(digest("first"), digest("second"));
    let third = TestDatabase::empty().await;
    case.write(ONE.0, "CREATE TABLE one (id bigint);\n");
    case.program(&["up", "--evidence", "third", "--database-url", &third.url]).run().expect(0);
    assert_ne!(digest("first"), digest("third"));
}

#[tokio::test]
async fn what_is_changed_afterwards_in_the_folder_is_found() {
    let case = Case::new("tampered", &[ONE]).await;
    case.run(&["up", "--evidence", "ev"], 0);
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 4] = [
        ("checks.txt is not as it was written", |folder| {
            std::fs::write(folder.join("checks.txt"), "all is well").unwrap()
        }),
        ("plan.sql is missing", |folder| std::fs::remove_file(folder.join("plan.sql")).unwrap()),
        ("note.txt is not of the evidence", |folder| std::fs::write(folder.join("note.txt"), "").unwrap()),
        ("SHA256SUMS is missing", |folder| std::fs::remove_file(folder.join("SHA256SUMS")).unwrap()),
    ];
    for (at, (said, damage)) in damage.iter().enumerate() {
        let copy = format!("copy{at}");
        let copied = Command::new("cp").arg("-r").args([case.evidence("ev"), case.evidence(&copy)]).status();
        assert!(copied.unwrap().success());
        damage(&case.evidence(&copy));
        let found = case.verify(&copy, 4);
        assert!(found.contains(said), "{said} is not in {found}");
        assert!(!found.contains("as the run left it"), "{found}");
    }
    // A file that is gone together with its line.
    let sums: String = case
        .text("ev", "SHA256SUMS")
        .lines()
        .filter(|l| !l.contains("plan.sql"))
        .fold(String::new(), |all, line| all + line + "\n");
    std::fs::write(case.evidence("ev").join("SHA256SUMS"), sums).unwrap();
    std::fs::remove_file(case.evidence("ev").join("plan.sql")).unwrap();
    assert!(case.verify("ev", 4).contains("SHA256SUMS does not have plan.sql"));
    case.run(&["verify", "evidence", "nowhere"], 2);
}

#[tokio::test]
async fn an_upgrade_of_the_platform_shows_what_was_adopted_and_that_the_rollup_is_right() {
    let case = Case::new("platform", &[]).await;
    release::build(&case.database, "v0.3.4", true).await;
    let up = |args: &[&str]| case.database.program().current_dir(&case.folder).args(args.iter().copied()).run();
    up(&["up", "--evidence", "ev"]).expect(0);
    case.assert_complete("ev");
    let checks: Value = serde_json::from_str(&case.text("ev", "checks.json")).unwrap();
    assert_eq!(checks["passed"], true);
    let made = checks["found"]["checks"].as_array().unwrap();
    let rollup = made.iter().find(|check| check["check"] == "rollup").unwrap();
    assert!(rollup["result"] == "passed" && rollup["lines"][0]["buckets"].as_u64() > Some(0), "{rollup}");
    let promised = checks["found"]["promised"].as_array().unwrap();
    assert!(promised.iter().any(|object| object["object"] == "table task_usage_hourly_dirty"), "{promised:?}");
    let plan = case.text("ev", "plan.sql");
    for said in ["V1 to V84", "repeatable usage_pipeline", "hook hourly-backfill", "V103, drop_legacy_daily_rollups"] {
        assert!(plan.contains(said), "{said} is not in the plan");
    }
    up(&["verify", "evidence", "ev"]).expect(0);

    // Again: nothing to do, and the folder says so.
    up(&["up", "--evidence", "again"]).expect(0);
    case.assert_complete("again");
    assert_eq!(case.verdict("again")["verdict"], "nothing_to_do");
    assert!(case.text("again", "plan.sql").contains("Nothing: there was nothing to do."));
    assert_eq!(case.text("again", "schema.diff"), "");

    // A check that finds something is told by the exit code, although nothing was left to do.
    case.database.batch("DROP INDEX idx_task_usage_hourly_workspace_time").await;
    up(&["up", "--evidence", "drift"]).expect(4);
    assert_eq!(case.verdict("drift")["verdict"], "done_with_findings");
}

#[tokio::test]
async fn a_check_with_nothing_to_compare_does_not_count_as_passed() {
    let case = Case::new("nothing", &[]).await;
    let up = case.database.program().current_dir(&case.folder);
    up.args(["--set", "usage-events", "up", "--evidence", "ev"]).run().expect(0);
    case.assert_complete("ev");
    assert_eq!(case.verdict("ev")["verdict"], "done");
    let checks = case.text("ev", "checks.txt");
    assert!(checks.contains("not compared usage"), "{checks}");
    assert!(checks.contains("there     V3 index usage_admin_bucket_idx on usage_events\n"), "{checks}");
}

#[tokio::test]
async fn a_folder_that_exists_is_refused_before_anything_else_happens() {
    let case = Case::new("exists", &[ONE]).await;
    std::fs::create_dir(case.evidence("empty")).unwrap();
    std::fs::write(case.evidence("file"), "").unwrap();
    for name in ["empty", "file", "."] {
        // The server does not answer, and is not asked.
        let away = ["up", "--evidence", name, "--database-url", "postgres://nobody@127.0.0.1:1/none"];
        let refused = case.run(&away, 2);
        assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    }
    assert!(case.run(&["up", "--evidence", "no/such"], 2).stderr.contains("create the folder above it first"));
    assert!(std::fs::read_dir(case.evidence("empty")).unwrap().next().is_none());
    // What is only shown needs no evidence.
    case.run(&["up", "--dry-run", "--evidence", "ev"], 2);
    case.run(&["down", "--evidence", "ev"], 2);
    // Where no run has begun there is nothing to keep.
    case.run(&["up", "--evidence", "ev", "--database-url", "postgres://nobody@127.0.0.1:1/none"], 6);
    assert!(!case.evidence("ev").exists());
    case.run(&["up", "--evidence", "ev"], 0);
}

#[tokio::test]
async fn no_password_is_anywhere_in_the_folder() {
    let case = Case::new("secrets", &[ONE, ("V2__bad.sql", "SELECT 1/0;\n")]).await;
    let role = format!("{}_secret", case.database.name);
    case.database.batch(&format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'xyzzy-4711'")).await;
    let url = crate::harness::with_authority(&case.database.url, Some(&format!("{role}:xyzzy-4711")), None);
    case.run(&["up", "--evidence", "flag", "--database-url", &url], 1);
    case.program(&["up", "--evidence", "variable"]).env("DATABASE_URL", &url).run().expect(1);
    for name in ["flag", "variable"] {
        case.assert_complete(name);
        assert!(case.text(name, "environment.json").contains(&role));
        for file in FILES {
            assert!(!case.text(name, file).contains("xyzzy"), "{name}/{file}");
        }
    }
    assert!(case.text("flag", "environment.json").contains("--database-url ***"));
    case.database
        .batch(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test]
async fn no_value_of_the_environment_is_in_the_folder() {
    let text = "DO $$ BEGIN RAISE NOTICE 'it is ${password}'; END $$;\n";
    let case = Case::new("hidden", &[("V1__say.sql", text)]).await;
    let manifest = "[set.app]\ndir = \"sql\"\nlayout = \"flyway\"\n\
                    [set.app.placeholders]\npassword = { env = \"APP_PASSWORD\" }\n";
    std::fs::write(case.folder.join("migrate.toml"), manifest).unwrap();
    let up = case.database.program().current_dir(&case.folder).env("APP_PASSWORD", "xyzzy-4711");
    up.args(["up", "--evidence", "ev"]).run().expect(0);
    case.assert_complete("ev");
    for file in FILES {
        assert!(!case.text("ev", file).contains("xyzzy"), "{file}");
    }
    assert!(case.text("ev", "run.log").contains("it is ${password}"));
    assert!(case.text("ev", "plan.sql").contains("it is ${password}"));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_a_complete_folder_with_its_error() {
    let case = Case::new("failed", &[ONE, ("V2__bad.sql", "CREATE TABLE two (id int);\nSELECT 1/0;\n")]).await;
    let up = case.run(&["up", "--evidence", "ev"], 1);
    assert!(
        up.stderr.contains("division by zero") && up.stderr.contains("the evidence is in ev: failed"),
        "{}",
        up.stderr
    );
    case.assert_complete("ev");
    let verdict = case.verdict("ev");
    assert_eq!((&verdict["verdict"], &verdict["steps_done"]), (&"failed".into(), &1.into()));
    assert_eq!(verdict["error"]["server"]["message"], "division by zero");
    assert!(case.text("ev", "run.log").lines().last().unwrap().contains("\"event\":\"error\""));
    assert!(case.text("ev", "index.html").contains("division by zero"));
    assert!(case.text("ev", "schema.diff").contains("+table public.one\n"));
    // It is whole, and no evidence of a change that was done.
    let verified = case.verify("ev", 4);
    assert!(
        verified.contains("its run failed, with exit code 1") && verified.contains("complete, and every"),
        "{verified}"
    );
}

#[tokio::test]
async fn text_of_others_stays_text_on_the_page_and_in_the_log() {
    let text = "CREATE TABLE \"<script>alert(1)</script>\" (a int);\n\
                COMMENT ON TABLE \"<script>alert(1)</script>\" IS '<b>\u{1b}[31m\u{202e}';\n\
                DO $$ BEGIN RAISE NOTICE '<i>\u{1b}[2J\nforged'; END $$;\n";
    let case = Case::new("foreign", &[("V1__one.sql", text)]).await;
    case.run(&["up", "--evidence", "ev"], 0);
    case.assert_complete("ev");
    let page = case.text("ev", "index.html");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page goes to the network");
    for file in FILES.into_iter().filter(|file| !["plan.sql", "rollback.txt"].contains(file)) {
        let text = case.text("ev", file);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{file}");
    }
    assert!(case.text("ev", "plan.sql").contains(text));
    let log = case.text("ev", "run.log");
    assert!(log.lines().all(|line| line.starts_with("{\"time\":")), "{log}");
}

#[tokio::test]
async fn the_way_back_has_evidence_too() {
    let case = Case::new("down", &[ONE, ONE_DOWN]).await;
    case.run(&["up", "--evidence", "up"], 0);
    assert!(case.text("up", "rollback.txt").contains("migrate --dir sql down --to 0 --execute"));
    case.run(&["down", "--execute", "--evidence", "down"], 0);
    case.assert_complete("down");
    assert!(case.text("down", "plan.sql").contains(ONE_DOWN.1));
    assert_eq!(case.text("down", "schema-after.txt"), case.text("up", "schema-before.txt"));
    assert!(case.text("down", "rollback.txt").contains("migrate --dir sql up --target 1"));
    case.verify("down", 0);
    assert!(case.verify("up", 4).contains("-table public.one"));
}

#[tokio::test]
async fn a_repair_and_its_undo_have_evidence_too() {
    let case = Case::new("repair", &[]).await;
    let case = Case { database: TestDatabase::at_version(latest(), 200, 40).await, ..case };
    let cutoff: String = case.database.value("SELECT to_json(now()) #>> '{}'").await;
    let run = |args: &[&str], code: i32| {
        let program = case.database.program().current_dir(&case.folder).args(args.iter().copied());
        program.run().expect(code)
    };
    let repair = ["repair", "codex-cache", "--cutoff", &cutoff];
    run(&[&repair[..], &["--evidence", "look"]].concat(), 2);
    run(&[&repair[..], &["--execute", "--evidence", "repair"]].concat(), 0);
    case.assert_complete("repair");
    let plan: Value = serde_json::from_str(&case.text("repair", "plan.json")).unwrap();
    let rows = plan["steps"][0]["rows"].as_u64().unwrap();
    assert!(rows > 0 && case.text("repair", "plan.sql").contains("UPDATE"), "{plan}");
    let log = case.text("repair", "run.log");
    assert!(log.contains("\"event\":\"repair_started\"") && log.contains("\"event\":\"repair_finished\""), "{log}");
    assert!(case.text("repair", "rollback.txt").contains("migrate repair undo 1 --execute"));
    let diff = case.text("repair", "schema.diff");
    let [added, removed] = ["\n+", "\n-"].map(|sign| diff.matches(sign).count());
    assert!(diff.contains("+    comment 'migrate: codex-cache run 1 began") && (added, removed) == (2, 0), "{diff}");

    run(&["repair", "undo", "1", "--execute", "--evidence", "undo"], 0);
    case.assert_complete("undo");
    run(&[&repair[..], &["--execute", "--expect", "000000000000", "--evidence", "refused"]].concat(), 7);
    run(&["repair", "hourly-rollup", "--execute", "--evidence", "rebuild"], 0);
    case.assert_complete("rebuild");
}

#[tokio::test]
async fn replicas_that_run_at_once_keep_a_folder_each() {
    let case = Case::new("replicas", &[ONE, ("V2__slow.sql", "SELECT pg_sleep(1);\n")]).await;
    let names = ["a", "b", "c"];
    let runs = names.map(|name| case.program(&["up", "--evidence", name]).start());
    for run in runs {
        run.wait().expect(0);
    }
    let mut verdicts = names.map(|name| {
        case.assert_complete(name);
        case.verdict(name)["verdict"].as_str().unwrap().to_owned()
    });
    verdicts.sort();
    assert_eq!(verdicts, ["done", "nothing_to_do", "nothing_to_do"]);
    let both = ["d", "d"].map(|name| case.program(&["up", "--evidence", name]).start());
    let mut codes = both.map(|run| run.wait().status.code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)]);
}
