//! docs/runbook-usage-windows.md, from top to bottom: its commands, and below each what it must show.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{TestDatabase, server_url, session, with_database};
use crate::pages::{blocks, surround};

const PAGE: &str = "docs/runbook-usage-windows.md";
const DAY: i64 = 86_400;
/// 2026-01-01 00:00 UTC.
const START: i64 = 1_767_225_600;

/// Whoever walks the page.
struct Walker {
    database: TestDatabase,
    folder: PathBuf,
    /// All that was said so far.
    said: String,
}

impl Walker {
    fn copy(&self) -> String {
        format!("{}_copy", self.database.name)
    }

    /// What follows these words in what was said last.
    fn shown(&self, before: &str) -> String {
        let found = self.said.rsplit_once(before).map(|(_, rest)| rest);
        let word = found.and_then(|rest| rest.split([';', ':', ' ', '\n']).next());
        word.unwrap_or_default().to_owned()
    }

    /// A block as it is typed here: the reader's own names, and what an earlier step has shown.
    fn typed(&self, block: &str) -> String {
        let mut typed = String::new();
        for line in block.lines() {
            let line = match line {
                _ if line.starts_with("export DATABASE_URL=") => String::new(),
                _ if line.starts_with("export COPY_URL=") => {
                    format!("export COPY_URL='{}'", with_database(&self.database.url, &self.copy()))
                }
                _ => line
                    .replace("usage_copy", &self.copy())
                    .replace("DIGEST", &self.shown("\ndigest "))
                    .replace("undo RUN", &format!("undo {}", self.shown("\nrun "))),
            };
            writeln!(typed, "{line}").unwrap();
        }
        typed
    }

    /// Runs a block and returns what it said.
    fn run(&mut self, line: usize, block: &str) -> String {
        let typed = self.typed(block);
        let mut shell = Command::new("sh");
        // Both streams as they come, as on a terminal.
        shell.args(["-e", "-c", &format!("exec 2>&1\n{typed}")]);
        let done = surround(&mut shell, &self.folder, &self.database.url).output().expect("a shell");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{PAGE}, line {line}, {}:\n{typed}\n{said}", done.status);
        write!(self.said, "\n{said}").unwrap();
        said
    }
}

/// Whether a line says what the page has, in which `...` stands for anything.
fn says(line: &str, expected: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, expected) = (words(line), words(expected));
    let mut rest = line.as_str();
    let parts: Vec<&str> = expected.split("...").map(str::trim).collect();
    for (at, part) in parts.iter().enumerate() {
        let Some(found) = rest.find(part) else { return false };
        if at == 0 && found > 0 {
            return false;
        }
        rest = &rest[found + part.len()..];
    }
    rest.is_empty() || parts.last().is_some_and(|last| last.is_empty())
}

/// The provider's export of 31 days and two models, and whose its key is.
fn write_export(folder: &Path) {
    let mut csv =
        "start_time,end_time,project_id,user_id,api_key_id,model,batch,service_tier,num_model_requests,input_tokens,\
                   output_tokens\n"
            .to_owned();
    for (day, model) in (0..31).flat_map(|day| ["gpt-4o", "gpt-4o-mini"].map(|model| (day, model))) {
        let (start, input, output) = (START + day * DAY, 1000 + day * 40, 100 + day * 7);
        writeln!(csv, "{start},{},proj_1,user-1,key_1,{model},false,default,{},{input},{output}", start + DAY, day + 1)
            .unwrap();
    }
    fs::write(folder.join("export.csv"), csv).unwrap();
    fs::write(folder.join("keys.csv"), "api_key_id,key_id\nkey_1,00000000-0000-0000-0000-000000000001\n").unwrap();
}

/// A restored backup: the table as the application has made it, with usage and without windows.
async fn staging() -> TestDatabase {
    let database = TestDatabase::empty().await;
    database
        .batch(
            "CREATE TABLE usage_events (
                 id uuid DEFAULT gen_random_uuid(), key_id uuid NOT NULL, model text NOT NULL, timestamp timestamptz NOT NULL,
                 tokens_in bigint, tokens_out bigint, cost_estimate numeric);
             CREATE UNIQUE INDEX usage_admin_bucket_idx ON usage_events (key_id, model, timestamp);
             INSERT INTO usage_events (key_id, model, timestamp, tokens_in, tokens_out, cost_estimate)
             SELECT ('00000000-0000-0000-0000-00000000000' || n % 3)::uuid, 'model-' || n % 2,
                    timestamptz '2025-12-01 00:00Z' + n * interval '1 hour', n, n * 2, n * 0.01
             FROM generate_series(1, 1500) n",
        )
        .await;
    database
}

const ROWS: &str = "SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM
    (SELECT id, key_id, model, timestamp, tokens_in, tokens_out, cost_estimate FROM usage_events) u";

#[tokio::test]
async fn the_runbook_of_the_windows_leads_there_and_back_and_shows_what_it_says() {
    let database = staging().await;
    let before: String = database.value(ROWS).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("runbook-{}", database.name));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    write_export(&folder);
    let mut walker = Walker { database, folder, said: String::new() };
    let (mut last, mut commands, mut shown) = (String::new(), 0, 0);
    let mut wrong = String::new();
    for (tag, line, block) in blocks(PAGE) {
        if tag == "sh" {
            last = walker.run(line, &block);
            commands += 1;
            continue;
        }
        assert_eq!(tag, "text", "{PAGE}, line {line}");
        for expected in block.lines() {
            shown += 1;
            if !last.lines().any(|said| says(said, expected)) {
                writeln!(wrong, "line {line}: {expected:?} was not said, but:\n{last}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // Each step has its commands, and shows something.
    assert!(commands >= 12 && shown >= 25, "{commands} blocks, {shown} lines");
    assert_eq!(walker.database.value::<String>(ROWS).await, before);
    for page in ["missing.html", "rehearsal.html", "agrees.html", "evidence-of-up/index.html"] {
        assert!(fs::read_to_string(walker.folder.join(page)).unwrap().starts_with("<!DOCTYPE html>"), "{page}");
    }
    let admin = session(&server_url()).await;
    admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", walker.copy())).await.unwrap();
}
