//! `import-usage`: the windows that are missing are inserted, once; a run can be continued and taken back.

use std::fs;
use std::path::PathBuf;

use crate::usage_events::of;
use crate::usage_events_compare::{Export, recorded, row};

/// Whose `key` is.
pub fn keys(export: &Export) -> String {
    export.write("keys.txt", "key_id,api_key_id\n00000000-0000-0000-0000-000000000001,key\n")
}

impl Export {
    pub fn import(&self, args: &[&str]) -> crate::harness::Program {
        of(&self.database).args(["import-usage"]).args(args.iter().copied())
    }

    pub fn undo(&self, run: &str, args: &[&str]) -> crate::harness::Program {
        of(&self.database).args(["repair", "undo", run]).args(args.iter().copied())
    }

    /// A place for evidence, which is not there yet.
    fn evidence(&self, name: &str) -> (PathBuf, String) {
        let folder = self.folder.join(format!("evidence-of-{name}"));
        let named = folder.display().to_string();
        (folder, named)
    }

    pub async fn rows(&self) -> i64 {
        self.database.value("SELECT count(*) FROM usage_events").await
    }
}

#[tokio::test]
async fn what_is_missing_is_inserted_once_and_taken_back() {
    let export = Export::new(3).await;
    let csv = export.csv(&(0..48).map(|hour| row(hour, "u", "10")).collect::<Vec<_>>());
    let keys = keys(&export);
    let args = ["--csv", &csv, "--keys", &keys];
    let shown = export.import(&args).run().expect(0).stdout;
    assert!(shown.starts_with("would insert 48 rows into usage_events, of 48 rows of the export\n"), "{shown}");
    assert_eq!(export.rows().await, 0);
    export.import(&[&args[..], &["--execute", "--expect", "000000000000"]].concat()).run().expect(7);
    assert_eq!(export.rows().await, 0);
    let digest = shown.split("digest ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    let execute = [&args[..], &["--execute", "--batch-size", "7"]].concat();
    let done = export.import(&[&execute[..], &["--expect", digest]].concat()).run().expect(0).stdout;
    assert!(done.starts_with("run 1: inserted 48 rows into usage_events"), "{done}");
    let report = export.report(&["--csv", &csv], 0);
    assert_eq!(report["totals"]["db"]["input_tokens"], 480);
    let exact: i64 = export
        .database
        .value(
            "SELECT count(*) FROM usage_events WHERE timestamp = window_start AND tokens_out = 5 AND model = 'gpt'
                AND key_id = '00000000-0000-0000-0000-000000000001' AND batch = false AND cost_estimate IS NULL",
        )
        .await;
    assert_eq!(exact, 48);
    let again = export.import(&execute).run().expect(0).stdout;
    assert!(again.contains("there is nothing to insert"), "{again}");

    // Somebody prices one row and deletes another: both stay as they are.
    export
        .database
        .batch(
            "UPDATE usage_events SET cost_estimate = 1 WHERE window_start = '2026-01-01 05:00Z';
             DELETE FROM usage_events WHERE window_start = '2026-01-01 06:00Z'",
        )
        .await;
    let would = export.undo("1", &[]).run().expect(0).stdout;
    assert!(
        would.starts_with(
            "would delete 46 rows of usage_events that run 1 has inserted; 1 changed since and stay, 1 are gone"
        ),
        "{would}"
    );
    let undone = export.undo("1", &["--execute"]).run().expect(0).stdout;
    assert!(undone.starts_with("run 2: deleted 46 rows of usage_events that run 1 had inserted"), "{undone}");
    assert_eq!(export.rows().await, 1);
    let runs = of(&export.database).args(["repair", "runs"]).run().expect(0).stdout;
    assert!(runs.contains("import-usage") && runs.contains("undo of run 1") && runs.contains("undone"), "{runs}");
    let nothing = export.undo("1", &["--execute"]).run().expect(0).stdout;
    assert!(nothing.starts_with("there is nothing to delete: no row of usage_events is as run 1"), "{nothing}");
    // The undo is not undone: what is missing is imported again, by the command that it names.
    let refused = export.undo("2", &["--execute"]).run().expect(7).stderr;
    let again = refused.split("insert what is missing again: ").nth(1).and_then(|rest| rest.lines().next());
    let again: Vec<&str> = again.expect("a command").split(' ').skip_while(|word| *word != "import-usage").collect();
    assert_eq!(again[1..], [&args[..], &["--execute"]].concat());
    let (evidence, folder) = export.evidence("import");
    let third = export.import(&[&again[1..], &["--evidence", &folder]].concat()).run().expect(0).stdout;
    assert!(third.starts_with("run 3: inserted 47 rows"), "{third}");
    assert!(fs::read_to_string(evidence.join("plan.sql")).unwrap().contains("INSERT INTO usage_events"));
    assert!(fs::read_to_string(evidence.join("rollback.txt")).unwrap().contains("repair undo 3 --execute"));
    of(&export.database).args(["verify", "evidence", &folder]).run().expect(0);
    assert_eq!(export.rows().await, 48);
    let (evidence, folder) = export.evidence("undo");
    let undone = export.undo("3", &["--execute", "--evidence", &folder]).run().expect(0);
    assert!(undone.stderr.contains(&format!("the evidence is in {folder}: done")), "{}", undone.stderr);
    assert!(fs::read_to_string(evidence.join("plan.sql")).unwrap().contains("DELETE FROM usage_events"));
    of(&export.database).args(["verify", "evidence", &folder]).run().expect(0);
    assert_eq!(export.rows().await, 1);
}

#[tokio::test]
async fn an_undo_does_not_read_the_table_for_every_batch() {
    let export = Export::new(3).await;
    // As a table may be that was there before version 1.
    export.database.batch("ALTER TABLE usage_events DROP CONSTRAINT usage_events_pkey").await;
    let csv = export.csv(&(0..400).map(|hour| row(hour, "u", "1")).collect::<Vec<_>>());
    export.import(&["--csv", &csv, "--keys", &keys(&export), "--execute"]).run().expect(0);
    const SCANS: &str = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'usage_events'";
    let before: i64 = export.database.value(SCANS).await;
    export.undo("1", &["--execute", "--batch-size", "10"]).run().expect(0);
    assert_eq!(export.rows().await, 0);
    let after: i64 = export.database.value(SCANS).await;
    assert!(after - before < 10, "it read the table {} times in 40 batches", after - before);
}

#[tokio::test]
async fn keys_that_nobody_knows_are_refused_with_their_list() {
    let export = Export::new(3).await;
    let other = |name: &str| row(9, "u", "1").replace(",key,", &format!(",{name},"));
    let csv = export.csv(&[row(0, "u", "1"), other("key_b"), other("key_a"), other("")]);
    for args in [&["--csv", &csv][..], &["--csv", &csv, "--execute"][..]] {
        let refused = export.import(args).run().expect(7);
        assert!(
            refused.stderr.contains("4 keys of the export are unknown: (none), key, key_a, key_b"),
            "{}",
            refused.stderr
        );
    }
    // Recorded windows tell whose a key is.
    export.database.batch(&recorded(7..8, "'u'", 1)).await;
    let refused = export.import(&["--csv", &csv, "--execute"]).run().expect(7);
    assert!(refused.stderr.contains("3 keys of the export are unknown: (none), key_a, key_b;"), "{}", refused.stderr);
    assert_eq!(export.rows().await, 1);
    let journal: bool = export.database.value("SELECT to_regclass('migrate.repair_run') IS NULL").await;
    assert!(journal, "a refused import leaves no journal");
    let wrong = export.write("keys.txt", "api_key_id,key_id\nkey,12\n");
    let refused = export.import(&["--csv", &csv, "--keys", &wrong]).run().expect(2);
    assert!(refused.stderr.contains("line 2 of") && refused.stderr.contains("\"12\" is no uuid"), "{}", refused.stderr);
}

#[tokio::test]
async fn windows_with_other_numbers_are_told_and_stay() {
    let export = Export::new(3).await;
    export.database.batch(&recorded(0..2, "'u'", 1)).await;
    let csv = export.csv(&[row(0, "u", "1"), row(1, "u", "2"), row(2, "u", "3")]);
    let done = export.import(&["--csv", &csv, "--execute"]).run().expect(8).stdout;
    assert!(
        done.contains("inserted 1 row into") && done.contains("1 window with other numbers than the export stay"),
        "{done}"
    );
    let tokens: Vec<i64> = {
        let rows = export.database.rows("SELECT tokens_in FROM usage_events ORDER BY window_start", &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(tokens, [1, 1, 3]);
}

#[tokio::test]
async fn a_killed_import_continues_and_neither_loses_nor_repeats_a_row() {
    let export = Export::new(3).await;
    let csv = export.csv(&(0..3000).map(|hour| row(hour, "u", "1")).collect::<Vec<_>>());
    let keys = keys(&export);
    let args = ["--csv", &csv, "--keys", &keys, "--execute", "--batch-size", "50"];
    let running = export.import(&[&args[..], &["--sleep-between-batches", "50ms"]].concat()).start();
    // Another writer has inserted one of the windows that are still to come, and not committed yet.
    let writer = export.database.session().await;
    writer.batch_execute(&format!("BEGIN; {}", recorded(2999..3000, "'u'", 1))).await.unwrap();
    export.database.wait_until("SELECT count(*) > 200 FROM usage_events").await;
    running.signal("KILL");
    running.wait();
    let there = export.rows().await;
    assert!((200..3000).contains(&there), "{there}");
    // The journal continues it, with what was authorised: whatever the file holds now, it is not read again.
    export.csv(&[row(5000, "u", "1")]);
    writer.batch_execute("COMMIT").await.unwrap();
    let continued = export.import(&args).run().expect(8);
    assert!(continued.stderr.contains("continues") || continued.stderr.contains("run 1"), "{continued:?}");
    assert!(continued.stdout.contains("run 1: inserted 2,999 rows into usage_events"), "{continued:?}");
    assert!(continued.stdout.contains("1 row had been inserted by somebody else meanwhile"), "{continued:?}");
    let (rows, windows): (i64, i64) = {
        let rows = export.database.rows("SELECT count(*), count(DISTINCT window_start) FROM usage_events", &[]).await;
        (rows[0].get(0), rows[0].get(1))
    };
    assert_eq!((rows, windows), (3000, 3000));
}
