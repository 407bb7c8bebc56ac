//! `verify usage`: the provider's export against what is recorded, and every way in which an export can be wrong.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Finished, TestDatabase};
use crate::usage_events::of;

pub const HEADER: &str = "start_time,end_time,project_id,user_id,api_key_id,model,batch,service_tier,num_model_requests,\
    input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens,input_text_tokens,output_text_tokens,\
    input_cached_text_tokens,input_audio_tokens,input_cached_audio_tokens,output_audio_tokens,input_image_tokens,\
    input_cached_image_tokens,output_image_tokens";

/// 2026-01-01 00:00 UTC.
const START: i64 = 1_767_225_600;

/// A row of an hour, of a user, with this many input tokens.
pub fn row(hour: i64, user: &str, input: &str) -> String {
    let start = START + hour * 3600;
    format!("{start},{},proj,{user},key,gpt,false,default,1,{input},5,0,{input},{input},5,0,0,0,0,0,0,0", start + 3600)
}

/// The same hours, as they are recorded.
pub fn recorded(hours: std::ops::Range<i64>, user: &str, input: i64) -> String {
    format!(
        "INSERT INTO usage_events (key_id, model, timestamp, window_start, window_end, project_id, openai_user_id,
             openai_api_key_id, service_tier, batch, num_model_requests, tokens_in, tokens_out, input_uncached_tokens,
             input_text_tokens, output_text_tokens)
         SELECT '00000000-0000-0000-0000-000000000001', 'gpt', s, s, s + interval '1 hour', 'proj', {user}, 'key', 'default',
             false, 1, {input}, 5, {input}, {input}, 5
         FROM (SELECT to_timestamp({START} + n * 3600) AS s FROM generate_series({}, {}) n) w",
        hours.start,
        hours.end - 1
    )
}

pub struct Export {
    pub database: TestDatabase,
    pub folder: PathBuf,
}

impl Export {
    pub async fn new(version: i64) -> Self {
        Self::of(TestDatabase::empty().await, version)
    }

    pub fn of(database: TestDatabase, version: i64) -> Self {
        of(&database).args(["up", "--target", &version.to_string()]).run().expect(0);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("usage-{}", database.name));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { database, folder }
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    pub fn csv(&self, rows: &[String]) -> String {
        self.write("export.csv", format!("{HEADER}\n{}\n", rows.join("\n")))
    }

    pub fn verify(&self, args: &[&str]) -> Finished {
        of(&self.database).args(["verify", "usage"]).args(args.iter().copied()).run()
    }

    /// The report of a comparison that ends with this exit code.
    #[track_caller]
    pub fn report(&self, args: &[&str], code: i32) -> Value {
        let path = self.folder.join("report.json");
        let _ = fs::remove_file(&path);
        let output = path.display().to_string();
        self.verify(&[args, &["--output", &output]].concat()).expect(code);
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn an_export_that_is_recorded_agrees_and_one_that_is_not_does_not() {
    let export = Export::new(3).await;
    export.database.batch(&recorded(0..48, "'u'", 10)).await;
    let rows: Vec<String> = (0..48).map(|hour| row(hour, "u", "10")).collect();
    let csv = export.csv(&rows);
    let report = export.report(&["--csv", &csv], 0);
    assert_eq!(report["rows"], serde_json::json!({ "csv": 48, "db": 48 }));
    assert_eq!(report["totals"]["db"]["input_tokens"], 480);
    assert_eq!(report["days"].as_array().unwrap().len(), 2);
    let said = export.verify(&["--csv", &csv]).expect(0).stdout;
    assert!(said.ends_with("the database has the usage of all 48 rows of the export\n"), "{said}");

    // Only in the database: told, and no fault.
    let fewer = export.csv(&rows[..24]);
    assert_eq!(export.report(&["--csv", &fewer], 0)["counts"]["missingInCsv"], 24);
    let day = ["--csv", &fewer, "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z"];
    assert_eq!(export.report(&day, 0)["counts"]["missingInCsv"], 0);

    let mut more = rows.clone();
    more[3] = row(3, "u", "11");
    more.push(row(99, "u", "7"));
    let csv = export.csv(&more);
    let page = export.folder.join("page.html").display().to_string();
    let report = export.report(&["--csv", &csv, "--page", &page], 4);
    assert_eq!(report["counts"]["missingInDb"], 1);
    assert_eq!(report["missingInDb"][0]["identity"]["windowStart"], "2026-01-05T03:00:00Z");
    // Input tokens, of which all are uncached text.
    assert_eq!((&report["counts"]["mismatched"], &report["counts"]["mismatchedWindows"]), (&3.into(), &1.into()));
    let first = &report["mismatched"][0];
    assert_eq!((&first["metric"], &first["csv"], &first["db"]), (&"input_tokens".into(), &11.into(), &10.into()));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<b>Differs</b>") && page.matches("<svg").count() == 6, "{page}");
    let said = export.verify(&["--csv", &csv]).expect(4).stdout;
    assert!(said.contains("1 window missing in the database, 3 numbers mismatched in 1 window"), "{said}");
    // A comparison leaves nothing behind. Its session is a moment longer there than its program.
    export
        .database
        .wait_until("SELECT count(*) = 1 FROM pg_class WHERE relname LIKE 'usage\\_%' AND relkind = 'r'")
        .await;
}

#[tokio::test]
async fn rows_of_one_identity_are_added_up_and_empty_is_missing() {
    let export = Export::new(3).await;
    // The database has the sum, once as an empty text and once as NULL; the export has two rows.
    export.database.batch(&recorded(0..1, "''", 4)).await;
    export.database.batch(&recorded(0..1, "NULL", 6)).await;
    let first = row(0, "", "7");
    // In another order, with a column that nobody knows, and counts as some programs write them.
    let columns: Vec<&str> = HEADER.split(',').rev().collect();
    let fields: Vec<String> = row(0, "", "3.0").split(',').rev().map(str::to_owned).collect();
    let second = format!("{},who\n{},\"a, b\"\n", columns.join(","), fields.join(","));
    let (one, two) = (export.csv(&[first]), export.write("second.csv", second));
    let report = export.report(&["--csv", &one, "--csv", &two], 0);
    assert_eq!(report["unknownColumns"], serde_json::json!(["who"]));
    assert_eq!(report["totals"]["csv"]["input_tokens"], 10);
    let twice = export.verify(&["--csv", &one, "--csv", &one]).expect(1);
    assert!(twice.stderr.contains("is named twice"), "{}", twice.stderr);
}

#[tokio::test]
async fn days_are_utc_and_times_may_be_written_with_a_zone() {
    let export = Export::new(3).await;
    export.database.batch(&recorded(0..1, "'u'", 1)).await;
    export.database.batch(&format!("ALTER DATABASE {} SET timezone = 'Pacific/Auckland'", export.database.name)).await;
    let header = HEADER.replace("start_time", "start_time_iso").replace("end_time", "end_time_iso");
    let fields = row(0, "u", "1");
    let (_, rest) = fields.split_once(",proj").unwrap();
    let text = format!("{header}\n2026-01-01T13:00:00+13:00,2025-12-31T20:00:00-05:00,proj{rest}\n");
    let csv = export.write("iso.csv", text);
    assert_eq!(export.report(&["--csv", &csv], 0)["days"][0]["day"], "2026-01-01");
}

#[tokio::test]
async fn each_fault_is_named_and_leaves_no_report() {
    let export = Export::new(3).await;
    let good = row(0, "u", "1");
    let with = |more: &str| format!("{HEADER}\n{good}\n{more}").into_bytes();
    let backwards = good.replacen(&(START + 3600).to_string(), &START.to_string(), 1);
    let mut not_utf8 = with("");
    not_utf8.extend(good.replace("gpt", "g?t").bytes().map(|byte| if byte == b'?' { 0xff } else { byte }));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (with("1767229200,17672"), "line 3 of {}: it has 2 fields instead of 22: it is cut off"),
        (with(&format!("{good},1\n")), "line 3 of {}: it has 23 fields instead of 22"),
        (with(&row(1, "u", "-5")), "line 3 of {}: input_tokens is negative: \"-5\""),
        (with(&row(1, "u", "9223372036854775808")), "line 3 of {}: input_tokens does not fit in 64 bits"),
        (with(&row(1, "u", "many")), "line 3 of {}: input_tokens is \"many\", which is no whole number"),
        (with(&backwards), "line 3 of {}: its window ends at 2026-01-01 00:00:00+00, which is not after its start"),
        (with(&good.replace("false", "maybe")), "line 3 of {}: batch is \"maybe\""),
        (with(&format!("{}\n", row(1, "\"two\nlines\"", "1")).replace("key", "\"k\"")), ""),
        (
            with(&format!("{}\n{}", row(1, "\"two\nlines\"", "1"), row(2, "u", "-1"))),
            "line 5 of {}: input_tokens is negative",
        ),
        (with(&row(1, "\"open", "1")), "it ends within quotes"),
        (not_utf8, "line 3 of {}: model is not UTF-8"),
        (b"\xff\xfes\0t\0".to_vec(), "UTF-16"),
        (Vec::new(), "{}: it is empty"),
        (b"a,b\n1,2\n".to_vec(), "its first line has no column start_time or start_time_iso, end_time"),
        (format!("{HEADER},model\n").into_bytes(), "column \"model\" is there twice"),
        (format!("{HEADER}\n").into_bytes(), "the export holds no row"),
    ];
    for (bytes, reason) in cases {
        let csv = export.write("wrong.csv", &bytes);
        let output = export.folder.join("out.json");
        let finished = export.verify(&["--csv", &csv, "--output", &output.display().to_string()]);
        if reason.is_empty() {
            finished.expect(4);
            fs::remove_file(output).unwrap();
            continue;
        }
        let finished = finished.expect(1);
        let reason = reason.replace("{}", &csv);
        assert!(finished.stderr.contains(&reason), "{reason}\n{}", finished.stderr);
        assert!(!output.exists() && fs::read_dir(&export.folder).unwrap().count() == 1, "{reason}: something is left");
        assert!(!finished.stdout.contains("of the export"), "{}", finished.stdout);
    }
    let many: Vec<String> = (0..50).map(|hour| row(hour, "u", "-1")).collect();
    let finished = export.verify(&["--csv", &export.csv(&many)]).expect(1);
    assert_eq!(finished.stderr.matches("is negative").count(), 20, "{}", finished.stderr);
    assert!(finished.stderr.contains("20 of its rows are wrong, and it was read no further"), "{}", finished.stderr);
}

#[tokio::test]
async fn windows_line_ends_a_byte_order_mark_gzip_and_folders_are_read() {
    let export = Export::new(3).await;
    export.database.batch(&recorded(0..3, "'u'", 1)).await;
    let text = |hour: i64| format!("{HEADER}\n{}\n", row(hour, "u", "1"));
    export.write("a.csv", format!("\u{feff}{}", text(0).replace('\n', "\r\n")));
    let zipped = {
        let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        gzip.stdin.take().unwrap().write_all(text(1).as_bytes()).unwrap();
        gzip.wait_with_output().unwrap().stdout
    };
    export.write("b.csv.gz", &zipped);
    export.write("c.CSV", text(2));
    export.write("notes.txt", "no export");
    let folder = export.folder.display().to_string();
    let verified = export.verify(&["--csv-dir", &folder]).expect(0);
    assert!(verified.stdout.contains("all 3 rows"), "{}", verified.stdout);
    export.write("b.csv.gz", &zipped[..zipped.len() - 12]);
    let cut = export.verify(&["--csv-dir", &folder]).expect(1);
    assert!(cut.stderr.contains("b.csv.gz: the compressed file is cut off"), "{}", cut.stderr);
    let empty = export.folder.join("empty");
    fs::create_dir(&empty).unwrap();
    let none = export.verify(&["--csv-dir", &empty.display().to_string()]).expect(1);
    assert!(none.stderr.contains("holds no .csv or .csv.gz file"), "{}", none.stderr);
    export.verify(&["--csv", "/nowhere/a.csv"]).expect(1);
    export.verify(&[]).expect(2);
}

#[tokio::test]
async fn sums_that_do_not_fit_are_an_error_that_names_the_window() {
    let export = Export::new(3).await;
    let csv = export.csv(&[row(0, "u", "9223372036854775807"), row(0, "u", "1")]);
    let failed = export.verify(&["--csv", &csv]).expect(1);
    let said = "the exported rows of one window add up to more than 64 bits hold: model \"gpt\", project \"proj\"";
    assert!(failed.stderr.contains(said), "{}", failed.stderr);
    let csv = export.csv(&[row(0, "u", "9223372036854775807"), row(1, "u", "1")]);
    let failed = export.verify(&["--csv", &csv]).expect(1);
    assert!(failed.stderr.contains("the rows of one day, or of all days, add up to more"), "{}", failed.stderr);
}

#[tokio::test]
async fn what_cannot_be_compared_is_an_error_and_never_zero_rows() {
    let export = Export::new(2).await;
    let csv = export.csv(&[row(0, "u", "1")]);
    // Before the windows, all of it is missing.
    let report = export.report(&["--csv", &csv], 4);
    assert_eq!((&report["hasWindows"], &report["counts"]["missingInDb"]), (&false.into(), &1.into()));
    let bare = of(&export.database).args(["verify"]).run().expect(0);
    assert!(bare.stdout.contains("usage: not compared, which needs the provider's export"), "{}", bare.stdout);
    let old = export.write("old.json", "{}");
    let refused = export.verify(&["--csv", &csv, "--output", &old]).expect(2);
    assert!(refused.stderr.contains("is there already, and is not replaced"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&old).unwrap(), "{}");

    of(&export.database).args(["down", "--to", "0", "--execute", "--lose-data"]).run().expect(0);
    let none = export.verify(&["--csv", &csv]).expect(7);
    assert!(none.stderr.contains("there is no table usage_events in this database"), "{}", none.stderr);
    let gone =
        of(&export.database).args(["verify", "usage", "--csv", &csv, "--database-url", "postgres://u@127.0.0.1:1/d"]);
    gone.run().expect(6);
}

#[tokio::test]
async fn a_policy_that_hides_rows_is_an_error() {
    let export = Export::new(3).await;
    export.database.batch(&recorded(0..1, "'u'", 1)).await;
    let role = format!("reader_{}", export.database.name);
    export
        .database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT SELECT ON usage_events TO {role};
             ALTER TABLE usage_events ENABLE ROW LEVEL SECURITY;
             CREATE POLICY none ON usage_events USING (false)"
        ))
        .await;
    let csv = export.csv(&[row(0, "u", "1")]);
    let url = export.database.url.replacen("postgres:postgres@", &format!("{role}:p@"), 1);
    let failed = of(&export.database).args(["verify", "usage", "--csv", &csv, "--database-url", &url]).run();
    export.database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert!(failed.stderr.contains("row-level security"), "{}\n{}", failed.stdout, failed.stderr);
    assert!(!failed.status.success() && failed.stdout.is_empty(), "{}", failed.stdout);
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_leaves_no_report() {
    let export = Export::new(3).await;
    let pipe = export.folder.join("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = export.folder.join("out.json").display().to_string();
    let pipe = pipe.display().to_string();
    let running = of(&export.database).args(["verify", "usage", "--csv", &pipe, "--output", &output]).start();
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let rows: Vec<String> = (0..5000).map(|hour| row(hour, "u", "1")).collect();
    writer.write_all(format!("{HEADER}\n{}\n", rows.join("\n")).as_bytes()).unwrap();
    export
        .database
        .wait_until("SELECT EXISTS (SELECT FROM pg_stat_progress_copy WHERE datname = current_database())")
        .await;
    export
        .database
        .batch("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy WHERE datname = current_database()")
        .await;
    let _ = writer.write_all(rows.join("\n").as_bytes());
    drop(writer);
    running.wait().expect(6);
    assert_eq!(fs::read_dir(&export.folder).unwrap().count(), 1, "something is left beside the pipe");
}
