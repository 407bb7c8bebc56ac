//! What a repair says.

use std::io::Read;
use std::process::{Command, Stdio};

use migrate::cli::Content as _;
use migrate::platform::Platform;

use super::rows::every_kind_of_row;
use super::{CUTOFF, overcounted};
use crate::harness::TestDatabase;

async fn small() -> TestDatabase {
    let database = every_kind_of_row().await;
    database.batch("DELETE FROM task_usage WHERE model = 'the largest there is'").await;
    database
}

#[tokio::test]
async fn a_dry_run_shows_what_would_change() {
    let database = small().await;
    let found = database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF]).run().expect(0);
    let digest = found.stdout.lines().find_map(|line| line.strip_prefix("digest")).unwrap().trim();
    assert_eq!(digest.len(), 12);
    let expected = format!(
        "\
workspace 00000000-0000-0000-0000-00000000000a
   day (UTC)  rows  before  after  removed  clamped     first      last
  2026-01-10     3     400    290      110        0  10:00:00  23:59:00
  2026-01-11     2      40      0       40        1  10:00:00  10:00:00
  2026-01-12     2     200    140       60        0  10:00:00  10:00:00
  2026-02-01     1     100     70       30        0  12:00:01  12:00:01
workspace 00000000-0000-0000-0000-00000000000b
  2026-01-10     1     100     70       30        0  10:00:00  10:00:00

rows                  9
input before          840
input after           570
input tokens removed  270
clamped rows          1
would write           9 rows of task_usage (input_tokens, updated_at)
                      9 rows of migrate.repair_change, in 1 transaction
would roll up         the hours of these rows
would take            about 1s, pauses included
digest                {digest}
nothing was written; to do exactly this, run
  migrate repair codex-cache --cutoff {CUTOFF} --execute --expect {digest}
"
    );
    assert_eq!(found.stdout, expected);
    assert_eq!(found.stderr, "");
    assert!(found.stdout.lines().all(|line| line.len() <= 100), "it fits on a screen");
}

#[tokio::test]
async fn the_command_that_it_proposes_is_the_whole_command() {
    let database = small().await;
    let look = |args: &'static [&'static str]| {
        database.program().args(["repair"]).args(args.iter().copied()).run().expect(0).stdout
    };
    let found = look(&[
        "codex-cache",
        "--cutoff",
        CUTOFF,
        "--batch-size",
        "100",
        "--sleep-between-batches",
        "1500ms",
        "--max-runtime",
        "2h",
        "--max-lag",
        "5s",
        "--rebuild-rollup",
        "false",
    ]);
    let proposed = found.lines().last().unwrap().trim();
    let flags = "--batch-size 100 --sleep-between-batches 1s500ms --max-runtime 2h --max-lag 5s --rebuild-rollup false --execute";
    assert!(proposed.contains(flags), "{proposed}");
    // It can be run as it stands.
    let words: Vec<&str> = proposed.split(' ').skip(1).collect();
    database.program().args(words).run().expect(0);
    let found = look(&["hourly-rollup", "--months-back", "2", "--force-partial"]);
    assert!(
        found.ends_with("migrate repair hourly-rollup --force-partial --months-back 2 --execute does it\n"),
        "{found}"
    );
}

#[tokio::test]
async fn a_report_is_not_overwritten_by_a_run_that_has_nothing_to_do() {
    let database = small().await;
    let path = std::env::temp_dir().join(format!("{}.html", database.name));
    let path = path.to_str().unwrap();
    let repair = || {
        database
            .program()
            .args(["repair", "codex-cache", "--cutoff", CUTOFF, "--execute", "--report", path])
            .run()
            .expect(0)
    };
    repair();
    let first = std::fs::read_to_string(path).unwrap();
    assert!(repair().stderr.contains("was not changed"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), first);
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn json_says_the_same() {
    let database = small().await;
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF, "--format", "json"]);
    let found = repair().run().expect(0);
    let days = found.events("repair_day");
    assert_eq!(days.len(), 5);
    assert_eq!(days[1]["workspace"], "00000000-0000-0000-0000-00000000000a");
    assert_eq!(days[1]["day"], "2026-01-11");
    let numbers = ["rows", "input_before", "input_after", "input_tokens_removed", "clamped_rows"];
    assert_eq!(numbers.map(|name| days[1][name].as_i64().unwrap()), [2, 40, 0, 40, 1]);
    assert_eq!(days[0]["first_created_at"], "2026-01-10T10:00:00+00:00");
    assert_eq!(days[0]["last_created_at"], "2026-01-10T23:59:00+00:00");
    let total = &found.events("repair_found")[0];
    assert_eq!(numbers.map(|name| total[name].as_i64().unwrap()), [9, 840, 570, 270, 1]);
    assert_eq!(total["arguments"]["cutoff"], CUTOFF);
    assert_eq!(total["written"], false);

    let repaired = repair().args(["--execute", "--batch-size", "4"]).run().expect(0);
    assert_eq!(repaired.events("repair_started")[0]["rows"], 9);
    assert_eq!(repaired.events("repair_progress").last().unwrap()["done"], 9);
    let finished = &repaired.events("repair_finished")[0];
    assert_eq!(numbers.map(|name| finished[name].as_i64().unwrap()), [9, 840, 570, 270, 1]);
    assert_eq!((&finished["run"], &finished["state"]), (&1.into(), &"done".into()));
    assert_eq!(finished["rollup"], "rebuilt");

    let runs = database.program().args(["repair", "runs", "--format", "json"]).run().expect(0);
    let run = &runs.events("repair_run")[0];
    assert_eq!((&run["id"], &run["state"], &run["repair"]), (&1.into(), &"done".into(), &"codex-cache".into()));
    assert_eq!(run["totals"]["input_tokens_removed"], 270);
    assert_eq!(run["run_by"], "postgres");
    assert_eq!(run["tool_version"], env!("CARGO_PKG_VERSION"));
    let list = database.program().args(["repair", "list", "--format", "json"]).run().expect(0);
    let names: Vec<_> = list.events("repair").iter().map(|repair| repair["repair"].clone()).collect();
    let known: Vec<_> = Platform.repairs().list().map(|listed| listed.repair).collect();
    assert_eq!(names, known);
}

#[tokio::test]
async fn an_execution_says_what_it_did() {
    let database = small().await;
    let repaired = database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF, "--execute"]).run().expect(0);
    assert_eq!(repaired.stderr, "run 1, codex-cache: 9 rows in the journal\nmigrate repair undo 1 would undo it\n");
    let mut lines = repaired.stdout.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("run 1 done ("), "{first}");
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "rows repaired         9",
            "input before          840",
            "input after           570",
            "input tokens removed  270",
            "clamped rows          1",
            "hourly rollup         9 buckets written",
            "no row is left to repair",
        ]
    );
    let quiet = database.program().args(["-q", "repair", "undo", "1", "--execute"]).run().expect(0);
    assert_eq!(quiet.stderr, "");
    let runs = database.program().args(["repair", "runs"]).run().expect(0);
    let lines: Vec<&str> = runs.stdout.lines().collect();
    assert_eq!(lines[0], " run  started (UTC)        repair         state               rows");
    assert!(
        lines[1].starts_with("   2  ") && lines[1].ends_with("undo of run 1  done                   9"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("   1  ") && lines[2].ends_with("codex-cache    undone                 9"),
        "{}",
        lines[2]
    );
    let verbose = database.program().args(["repair", "runs", "-v"]).run().expect(0);
    assert!(verbose.stdout.contains("by postgres from "), "{}", verbose.stdout);
    assert!(verbose.stdout.contains(CUTOFF), "{}", verbose.stdout);
}

#[tokio::test]
async fn the_report_is_one_page_that_needs_nothing_else() {
    let database = small().await;
    let path = std::env::temp_dir().join(format!("{}.html", database.name));
    let path = path.to_str().unwrap();
    let repair = || database.program().args(["repair", "codex-cache", "--cutoff", CUTOFF, "--report", path]);
    let page = || std::fs::read_to_string(path).unwrap();
    repair().run().expect(0);
    let before = page();
    assert!(before.contains("postgres@127.0.0.1:") && !before.contains("postgres:postgres@"), "where, and no password");
    for part in
        ["Nothing was written", "<svg", "2026-01-10: 500 before, 360 after", "<b>270</b>", "<td>2026-01-11</td>"]
    {
        assert!(before.contains(part), "{part} is missing");
    }
    repair().args(["--execute"]).run().expect(0);
    let after = page();
    for part in [
        "What it found, and what it did",
        "<span class=\"badge\">done</span>",
        "2026-01-10: 500 before",
        "nothing: no row is left",
    ] {
        assert!(after.contains(part), "{part} is missing");
    }
    for page in [before, after] {
        for outside in ["http:", "https:", "//", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "it refers to something outside: {outside}");
        }
        assert!(!page.contains("<script"));
    }
    database.program().args(["repair", "undo", "1", "--report", path]).run().expect(0);
    assert!(page().contains("undo of run 1"));
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_a_repair() {
    let database = overcounted(300).await;
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_migrate"))
        .args(["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--format", "json", "--batch-size", "5"])
        .env("DATABASE_URL", &database.url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    assert!(child.wait().unwrap().success());
    assert_eq!(database.run_states().await, ["done"]);
    database.assert_corrected_once().await;
}
