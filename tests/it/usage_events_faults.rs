//! The server stops, or a disk is full, in every step of a comparison, an import and a change with evidence: a clear error, nothing
//! half done, and the same command brings it to its end when the server is back.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Finished, Program, Running, TestDatabase, Volume, special_server, start_special_server_again, stop_special_server,
};
use crate::usage_events::{BUILDING, INDEXES, of};
use crate::usage_events_compare::{Export, HEADER, recorded, row};
use crate::usage_events_import::keys;

/// A server of its own, which can be stopped.
struct Stoppable {
    url: String,
    server: PathBuf,
    export: Export,
}

impl Stoppable {
    async fn new(name: &str, version: i64) -> Self {
        let (url, server) = special_server(name, &[]);
        let export = Export::of(TestDatabase::on_server(&url, name).await, version);
        Self { url, server, export }
    }

    /// The server is gone from one moment to the next, and back when this program has said so.
    async fn stopped_during(&self, running: Running) -> Finished {
        stop_special_server(&self.url, "QUIT").await;
        let ended = running.wait().expect(6);
        assert!(ended.stderr.contains("the connection to the server was lost"), "{}", ended.stderr);
        start_special_server_again(&self.server);
        ended
    }

    async fn end(self) {
        stop_special_server(&self.url, "QUIT").await;
        // There is no server any more to drop it from.
        std::mem::forget(self.export.database);
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.export.folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_server_that_stops_during_a_comparison_leaves_no_report() {
    let case = Stoppable::new("stop_compare", 3).await;
    let database = &case.export.database;
    database.batch(&recorded(0..100, "'u'", 10)).await;
    let rows: Vec<String> = (0..100).map(|hour| row(hour, "u", "10")).collect();
    let csv = case.export.csv(&rows);
    let paths = ["out.json", "out.html"].map(|name| case.export.folder.join(name).display().to_string());
    let verify = |csv: &str| {
        let [output, page] = &paths;
        of(database).args(["verify", "usage", "--csv", csv, "--output", output, "--page", page])
    };

    // While it reads the export.
    let pipe = case.export.folder.join("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = verify(&pipe.display().to_string()).start();
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let many: Vec<String> = (0..5000).map(|hour| row(hour, "u", "1")).collect();
    writer.write_all(format!("{HEADER}\n{}\n", many.join("\n")).as_bytes()).unwrap();
    database.wait_until("SELECT EXISTS (SELECT FROM pg_stat_progress_copy WHERE datname = current_database())").await;
    let rest = std::thread::spawn(move || {
        let _ = writer.write_all(many.join("\n").as_bytes());
    });
    case.stopped_during(running).await;
    rest.join().unwrap();
    fs::remove_file(&pipe).unwrap();
    assert_eq!(case.names(), ["export.csv"]);

    // While the server compares.
    let holder = database.session().await;
    holder.batch_execute("BEGIN; LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let running = verify(&csv).start();
    database
        .wait_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                            AND application_name = 'migrate: verify usage')",
        )
        .await;
    case.stopped_during(running).await;
    assert_eq!(case.names(), ["export.csv"]);

    let down = verify(&csv).run().expect(0);
    assert!(down.stdout.contains("the database has the usage of all 100 rows"), "{}", down.stdout);
    assert_eq!(case.names(), ["export.csv", "out.html", "out.json"]);
    case.end().await;
}

#[tokio::test]
async fn an_import_and_its_undo_go_on_where_the_server_stopped() {
    let case = Stoppable::new("stop_import", 3).await;
    let (export, database) = (&case.export, &case.export.database);
    let csv = export.csv(&(0..2000).map(|hour| row(hour, "u", "1")).collect::<Vec<_>>());
    let keys = keys(export);
    let slowly = ["--batch-size", "50", "--sleep-between-batches", "30ms"];
    let import = ["--csv", &csv, "--keys", &keys, "--execute"];
    let running = export.import(&[&import[..], &slowly].concat()).start();
    database.wait_until("SELECT count(*) > 200 FROM usage_events").await;
    let ended = case.stopped_during(running).await;
    assert!(ended.stderr.contains("run 1 has done"), "{}", ended.stderr);
    let there = export.rows().await;
    let marked: i64 = database.value("SELECT count(applied_at) FROM migrate.repair_change WHERE run_id = 1").await;
    assert!(there < 2000 && there == marked, "{there} rows are there, {marked} in the journal");
    let done = export.import(&import).run().expect(0).stdout;
    assert!(done.contains("run 1: inserted 2,000 rows"), "{done}");
    export.report(&["--csv", &csv], 0);

    let running = export.undo("1", &[&["--execute"][..], &slowly].concat()).start();
    database.wait_until("SELECT count(*) < 1800 FROM usage_events").await;
    case.stopped_during(running).await;
    let there = export.rows().await;
    assert!((1..2000).contains(&there), "{there}");
    let done = export.undo("1", &["--execute"]).run().expect(0).stdout;
    assert!(done.contains("run 2: deleted 2,000 rows"), "{done}");
    assert_eq!(export.rows().await, 0);
    case.end().await;
}

/// What makes a build of an index wait: a snapshot that is older.
async fn reader(database: &TestDatabase) -> tokio_postgres::Client {
    let reader = database.session().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT").await.unwrap();
    reader
}

/// Fails if a folder passes for the evidence of a change that was done.
fn does_not_verify(program: Program, folder: &Path) {
    let verified = program.args(["verify", "evidence", &folder.display().to_string()]).run();
    let verdict = fs::read_to_string(folder.join("verdict.json")).unwrap_or_default();
    assert!(verified.status.code() != Some(0), "{}\n{verdict}", verified.stdout);
}

#[tokio::test]
async fn a_change_with_evidence_goes_on_where_the_server_stopped_in_the_middle_of_a_build() {
    let case = Stoppable::new("stop_change", 2).await;
    let database = &case.export.database;
    database.batch("INSERT INTO usage_events (key_id, model, timestamp) VALUES (gen_random_uuid(), 'm', now())").await;
    let before = of(database).args(["snapshot"]).run().expect(0).stdout;
    let folder = |name: &str| case.export.folder.join(name);
    let command = |args: &[&str], name: &str| {
        of(database).args(args.iter().copied()).args(["--evidence", &folder(name).display().to_string()])
    };
    let back = ["down", "--steps", "1", "--execute", "--lose-data"];
    for (args, first, second) in [(&["up"][..], "up-1", "up-2"), (&back, "down-1", "down-2")] {
        let _reader = reader(database).await;
        let running = command(args, first).start();
        database.wait_until(BUILDING).await;
        case.stopped_during(running).await;
        does_not_verify(of(database), &folder(first));
        let indexes: String = database.value(INDEXES).await;
        assert!(indexes.starts_with("usage_admin_bucket_idx "), "the index that was in force is gone: {indexes}");
        // Its folder is not used again; anything else is the same command.
        command(args, first).run().expect(2);
        command(args, second).run().expect(0);
        assert_eq!(database.value::<String>(INDEXES).await, "usage_admin_bucket_idx usage_events_pkey");
        of(database).args(["verify", "evidence", &folder(second).display().to_string()]).run().expect(0);
    }
    assert_eq!(of(database).args(["snapshot"]).run().expect(0).stdout, before);
    of(database).args(["verify"]).run().expect(0);
    case.end().await;
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_no_report_of_a_comparison() {
    let export = Export::new(3).await;
    let csv = export.csv(&(0..400).map(|hour| row(hour, "u", "10")).collect::<Vec<_>>());
    let small = export.folder.join("small");
    fs::create_dir(&small).unwrap();
    let Some(_volume) = Volume::new(&small, "64k", 0) else {
        eprintln!("not tried: only root can mount a small volume");
        return;
    };
    let [output, page] = ["out.json", "out.html"].map(|name| small.join(name).display().to_string());
    // Room for nothing; for the one file, and not for the other; and for both.
    let elsewhere = export.folder.join("elsewhere.json").display().to_string();
    for (output, page, full) in [(&output, &page, &output), (&elsewhere, &page, &page)] {
        let filled = Command::new("sh").args(["-c", "cat /dev/zero > filler"]).current_dir(&small).status();
        assert!(!filled.unwrap().success());
        let verify = ["--csv", &csv, "--output", output, "--page", page];
        let failed = export.verify(&verify).expect(1);
        let expected = format!("cannot write {full}: No space left on device");
        assert!(failed.stderr.contains(&expected), "{}", failed.stderr);
        assert_eq!(fs::read_dir(&small).unwrap().count(), 1, "something is left beside the filler");
        assert!(!Path::new(&elsewhere).exists(), "one of two files is there");
        fs::remove_file(small.join("filler")).unwrap();
    }
    export.verify(&["--csv", &csv, "--output", &elsewhere, "--page", &page]).expect(4);
    assert!(Path::new(&elsewhere).exists() && Path::new(&page).exists());
}
