//! `kill -9` at random moments of an upgrade, again and again.

use std::time::Duration;

use crate::harness::{Dice, TestDatabase, all_versions, seed};

const ROUNDS: u32 = 32;

#[tokio::test]
async fn an_upgrade_killed_at_any_moment_completes_exactly_on_the_next_run() {
    let seed = seed("KILL_SEED");
    let mut dice = Dice::new(seed);

    let template = TestDatabase::at_version(72, 0, 0).await;
    template.write_usage(20_000, 120).await;
    // How long it takes when nobody disturbs it.
    let undisturbed = TestDatabase::from_template(&template.name).await;
    let started = std::time::Instant::now();
    undisturbed.program().args(["up"]).run().expect(0);
    let whole = u64::try_from(started.elapsed().as_millis()).unwrap();

    let mut killed_in = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..ROUNDS {
        let database = TestDatabase::from_template(&template.name).await;
        // Some rounds are killed more than once.
        for _ in 0..=dice.below(3) {
            let mut runner = database.program().args(["up"]).start();
            tokio::time::sleep(Duration::from_millis(dice.below(whole))).await;
            if runner.is_running() {
                runner.signal("KILL");
            }
            let _ = runner.wait();
            let at: String = database
                .value(
                    // The table may not be there yet, which a plain query would not bear.
                    "SELECT coalesce((xpath('//v/text()', query_to_xml(
                                CASE WHEN to_regclass('migrate.hook_state') IS NOT NULL
                                     THEN 'SELECT max(version) || (SELECT '' walking'' FROM migrate.hook_state) AS v,
                                                  max(version) AS v FROM migrate.history_platform'
                                     ELSE 'SELECT ''start'' AS v' END, false, true, '')))[1]::text, 'start')",
                )
                .await;
            *killed_in.entry(at).or_default() += 1;
        }
        let up = database.program().args(["up"]).run();
        assert_eq!(up.status.code(), Some(0), "KILL_SEED={seed}, round {round}:\n{}\n{}", up.stdout, up.stderr);
        assert_eq!(database.versions().await, all_versions(), "KILL_SEED={seed}, round {round}");
        database.assert_parity().await;
        let invalid: i64 = database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await;
        assert_eq!(invalid, 0, "KILL_SEED={seed}, round {round}");
    }
    println!("last version recorded when killed: {killed_in:?}");
    assert!(killed_in.contains_key("102 walking"), "no kill hit the walk: {killed_in:?}");
}
