//! Evidence of a run that is killed or told to stop, and on a disk that is full.

use std::process::Command;

use crate::evidence::{Case, ONE, SLOW, end_the_sleep, until_it_sleeps};
use crate::harness::Volume;

#[tokio::test]
async fn a_killed_run_leaves_a_folder_that_says_it_is_unfinished() {
    let case = Case::new("killed", &[ONE, SLOW]).await;
    let run = case.program(&["up", "--evidence", "ev"]).start();
    until_it_sleeps(&case).await;
    run.signal("KILL");
    run.wait();
    let plan = case.text("ev", "plan.sql");
    assert!(plan.contains(ONE.1) && plan.contains(SLOW.1), "{plan}");
    assert!(case.text("ev", "UNFINISHED").contains("not evidence"));
    assert!(case.verify("ev", 4).contains("it is unfinished"));
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_completes_its_folder() {
    let case = Case::new("stopped", &[ONE, SLOW]).await;
    let run = case.program(&["up", "--evidence", "ev"]).start();
    until_it_sleeps(&case).await;
    run.signal("TERM");
    run.wait().expect(143);
    case.assert_complete("ev");
    let verdict = case.verdict("ev");
    assert_eq!((&verdict["verdict"], &verdict["exit_code"]), (&"failed".into(), &143.into()));
    assert!(case.text("ev", "schema.diff").contains("+table public.one\n"));
}

#[tokio::test]
async fn a_disk_that_is_full_stops_the_run_before_it_has_begun() {
    let case = Case::new("full", &[ONE]).await;
    std::fs::create_dir(case.evidence("small")).unwrap();
    let Some(_volume) = Volume::new(&case.evidence("small"), "3m", 0) else {
        eprintln!("not tried: only root can mount a small volume");
        return;
    };
    let up = case.run(&["up", "--evidence", "small/ev"], 1);
    assert!(
        up.stderr.contains("could not write the evidence, small/ev/RESERVE: No space left on device"),
        "{}",
        up.stderr
    );
    assert!(up.stderr.contains("nothing was done; free space there"), "{}", up.stderr);
    let touched = "SELECT to_regclass('one') IS NOT NULL OR to_regnamespace('migrate') IS NOT NULL";
    assert!(!case.database.value::<bool>(touched).await);
    assert!(!case.evidence("small/ev").exists());
}

#[tokio::test]
async fn a_disk_that_fills_up_during_the_run_has_room_for_the_rest() {
    let case = Case::new("filled", &[ONE, SLOW]).await;
    std::fs::create_dir(case.evidence("small")).unwrap();
    let Some(_volume) = Volume::new(&case.evidence("small"), "12m", 0) else {
        eprintln!("not tried: only root can mount a small volume");
        return;
    };
    let fill = || {
        let filled = Command::new("sh").args(["-c", "cat /dev/zero > small/filler"]).current_dir(&case.folder).status();
        assert!(!filled.unwrap().success());
    };
    let run = case.program(&["up", "--evidence", "small/ev"]).start();
    until_it_sleeps(&case).await;
    fill();
    end_the_sleep(&case).await;
    run.wait().expect(1);
    case.assert_complete("small/ev");

    // Where even that room is taken, it is said that the database has what the evidence does not show.
    std::fs::remove_file(case.evidence("small/filler")).unwrap();
    case.write(SLOW.0, "CREATE TABLE two (id int);\nSELECT pg_sleep(3);\n");
    let run = case.program(&["up", "--evidence", "small/late"]).start();
    let sleeps = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                  AND query LIKE '%pg_sleep(3)%' AND state = 'active' AND pid <> pg_backend_pid())";
    case.database.wait_until(sleeps).await;
    std::fs::remove_file(case.evidence("small/late/RESERVE")).unwrap();
    fill();
    let up = run.wait().expect(1);
    let said = "the run is done, and stays, but its evidence in small/late is not complete";
    assert!(up.stderr.contains(said) && up.stderr.contains("No space left on device"), "{}", up.stderr);
    assert!(case.database.value::<bool>("SELECT to_regclass('two') IS NOT NULL").await);
    assert!(case.verify("small/late", 4).contains("it is unfinished"));
}
