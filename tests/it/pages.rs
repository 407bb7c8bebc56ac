//! Every command on every page runs, on the database of the reader's URL and nowhere else.
//!
//! A fenced block tagged `sh` or `sql` is what a reader pastes. The blocks of a page are run one after the other, on a
//! database as somebody would have it who reads that page. The surroundings name a server that does not exist, so what does
//! not go by the URL fails. Blocks of another tag, or without one, are no commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{TestDatabase, latest, release, server_url, session, with_database};

/// What is not run here, by the page and the beginning of the block, and why.
const NOT_RUN: [(&str, &str, &str); 5] = [
    ("README.md", "cargo install", "it builds the program, which is built already"),
    ("docs/platform.md", "script/demo", "the demonstration and the whole test suite, which this is a part of"),
    (
        "docs/upgrading.md",
        "#!/bin/sh\nset -e\nmigrate --set platform",
        "it takes the platform's own files; `overlay` runs it",
    ),
    ("docs/upgrading.md", "script/static", "it builds the program for another target"),
    ("docs/repair-codex-cache.md", "docker run", "it takes a container image"),
];

/// What belongs to the reader, and has another value here.
struct Reader {
    database: TestDatabase,
    folder: PathBuf,
    cutoff: String,
}

impl Reader {
    async fn of(database: TestDatabase) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{}", database.name));
        std::fs::create_dir_all(&folder).unwrap();
        let cutoff = database.value("SELECT to_json(now()) #>> '{}'").await;
        Self { database, folder, cutoff }
    }

    /// Where the backup is restored.
    fn restored(&self) -> String {
        format!("{}_before", self.database.name)
    }

    /// A block as this reader would type it.
    fn typed(&self, block: &str) -> String {
        let digest = self.digest();
        let lines = block.lines().map(|line| match line {
            // The value on the page is a pattern.
            _ if line.starts_with("export DATABASE_URL=") => String::new(),
            _ if line.starts_with("export RESTORED_URL=") => {
                format!("export RESTORED_URL='{}'", with_database(&self.database.url, &self.restored()))
            }
            // It goes on until it is told to stop, once: a second signal would end it at once.
            _ if line.starts_with("migrate rollup watch") => format!("timeout --foreground --preserve-status 3 {line}"),
            // Programs of the platform's image.
            _ if line.starts_with("/app/platform-migrate") || line == "exec /app/server" => String::new(),
            _ => line
                .replace("2026-03-01T14:00:00Z", &self.cutoff)
                .replace("2f7e2171f495", &digest)
                .replace("--target 272", &format!("--target {}", latest()))
                .replace("app_before_upgrade", &self.restored())
                .replace("ROLE deployer", &format!("ROLE {}_deployer", self.database.name))
                .replace("ROLE app", &format!("ROLE {}_app", self.database.name)),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The digest that this reader has seen.
    fn digest(&self) -> String {
        let args = ["repair", "codex-cache", "--cutoff", &self.cutoff, "--format", "json"];
        let found = self.database.program().args(args).run();
        let digest = found.events("repair_found").first().and_then(|event| Some(event["digest"].as_str()?.to_owned()));
        digest.unwrap_or_else(|| "none".to_owned())
    }

    fn run(&self, tag: &str, block: &str) -> Output {
        let typed = self.typed(block);
        let mut command = match tag {
            "sql" => {
                let mut psql = Command::new("psql");
                psql.args(["-v", "ON_ERROR_STOP=1", &self.database.url, "-c", &typed]);
                psql
            }
            _ => {
                let mut shell = Command::new("sh");
                shell.args(["-e", "-c", &typed]);
                shell
            }
        };
        surround(&mut command, &self.folder, &self.database.url).output().expect("a shell")
    }
}

/// The surroundings of a reader: this program, a database, and a server that does not exist for whoever does not ask for it.
pub fn surround<'c>(command: &'c mut Command, folder: &Path, url: &str) -> &'c mut Command {
    let program = Path::new(env!("CARGO_BIN_EXE_migrate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    command
        .current_dir(folder)
        .env_remove("MIGRATE_DATABASE_URL")
        .env("PATH", path)
        .env("DATABASE_URL", url)
        .env("PGHOST", "nowhere.invalid")
        .env("PGPORT", "1")
        .env("PGUSER", "nobody")
        .env("PGDATABASE", "nothing")
        .stdin(Stdio::null())
}

/// The blocks of a page: tag, first line's number, text.
pub fn blocks(page: &str) -> Vec<(String, usize, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut blocks: Vec<(String, usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(tag) if !inside => {
                inside = true;
                blocks.push((tag.to_owned(), number + 2, String::new()));
            }
            Some(_) => inside = false,
            None if inside => blocks.last_mut().unwrap().2 += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(!inside, "a block of {page} has no end");
    blocks
}

/// Runs the commands of a page and says how many there were.
fn follow(page: &str, reader: &Reader) -> usize {
    let mut run = 0;
    for (tag, line, block) in blocks(page) {
        let left_out = NOT_RUN.iter().any(|(of, beginning, _)| *of == page && block.starts_with(beginning));
        if !["sh", "sql"].contains(&tag.as_str()) || left_out {
            continue;
        }
        let done = reader.run(&tag, &block);
        let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n");
        assert!(done.status.success(), "{page}, line {line}, {}:\n{}\n{said}", done.status, reader.typed(&block));
        run += 1;
    }
    run
}

/// A database with usage of which half is overcounted.
async fn present() -> TestDatabase {
    TestDatabase::at_version(latest(), 200, 40).await
}

/// The newcomer's clock: what the first screen asks of somebody with an empty database and no folder, as the page has it.
#[tokio::test]
async fn the_readme_leads_a_newcomer_to_a_first_migration_in_two_minutes() {
    let reader = Reader::of(TestDatabase::empty().await).await;
    let blocks = blocks("README.md");
    let [(install, _, typed_first), (tag, _, first), (shown, _, expected), (next_tag, _, next), ..] = &blocks[..]
    else {
        panic!("the first screen has other blocks")
    };
    assert!([install, tag, next_tag].iter().all(|tag| *tag == "sh") && shown == "text", "{blocks:?}");

    let done = reader.run(tag, first);
    assert!(done.status.success(), "{}\n{}", reader.typed(first), String::from_utf8_lossy(&done.stderr));
    // What the page shows is what was said, but for the times.
    let without_times =
        |line: &str| line.split_whitespace().filter(|word| word.parse::<f64>().is_err()).collect::<Vec<_>>().join(" ");
    let said = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    let lines: Vec<String> = said.iter().flat_map(|text| text.lines()).map(without_times).collect();
    for line in expected.lines() {
        assert!(lines.contains(&without_times(line)), "the page shows {line}, and this was said:\n{}", said.join("\n"));
    }
    assert!(said[0].ends_with("nothing is pending\n"), "{}", said[0]);
    assert!(reader.database.value::<bool>("SELECT to_regclass('public.users') IS NOT NULL").await);
    assert!(reader.folder.join("migrations/V1__create_users.sql").exists());

    // Somebody who reads 240 words a minute, and types four characters a second, all but the comments.
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let until = page.find(first.as_str()).unwrap() + first.len();
    let words = page[..until].split_whitespace().count();
    let commands = format!("{typed_first}{first}");
    let typed: usize = commands.lines().map(|line| line.split(" #").next().unwrap().trim_end().len()).sum();
    let seconds = words * 60 / 240 + typed / 4;
    assert!(seconds <= 120, "{words} words and {typed} characters take {seconds} s");

    let done = reader.run(next_tag, next);
    assert!(done.status.success(), "{}\n{}", reader.typed(next), String::from_utf8_lossy(&done.stderr));
    assert!(reader.database.value::<bool>("SELECT to_regclass('public.users') IS NULL").await);
    let runnable = blocks.iter().filter(|(tag, ..)| ["sh", "sql"].contains(&tag.as_str())).count();
    assert_eq!(runnable, 3, "a block of README.md is not run here");
}

#[tokio::test]
async fn every_command_about_the_platform_runs_on_the_database_of_the_url() {
    assert_eq!(follow("docs/platform.md", &Reader::of(present().await).await), 1);
}

#[tokio::test]
async fn every_command_of_the_repair_s_runbook_runs_on_the_database_of_the_url() {
    assert_eq!(follow("docs/repair-codex-cache.md", &Reader::of(present().await).await), 7);
}

#[tokio::test]
async fn every_command_about_snapshots_runs_on_the_database_of_the_url() {
    assert_eq!(follow("docs/snapshot.md", &Reader::of(TestDatabase::empty().await).await), 2);
}

#[tokio::test]
async fn every_command_about_usage_events_runs_on_the_database_of_the_url() {
    assert_eq!(follow("docs/usage-events.md", &Reader::of(TestDatabase::empty().await).await), 3);
}

#[tokio::test]
async fn every_command_about_evidence_runs_on_the_database_of_the_url() {
    assert_eq!(follow("docs/evidence.md", &Reader::of(TestDatabase::empty().await).await), 3);
}

#[tokio::test]
async fn every_command_about_rehearsals_runs_on_the_database_of_the_url() {
    let database = TestDatabase::empty().await;
    database.program().args(["--set", "usage-events", "up", "--target", "2"]).run().expect(0);
    let reader = Reader::of(database).await;
    let restored = TestDatabase::on_server(&server_url(), &reader.restored()).await;
    assert_eq!(follow("docs/rehearsal.md", &reader), 3);
    drop(restored);
}

#[tokio::test]
async fn every_command_about_rights_runs_on_the_database_of_the_url() {
    let database = present().await;
    let [app, deployer] = ["app", "deployer"].map(|role| format!("{}_{role}", database.name));
    database.batch(&format!("CREATE ROLE {app}")).await;
    assert_eq!(follow("docs/security.md", &Reader::of(database).await), 1);
    let admin = session(&server_url()).await;
    admin.batch_execute(&format!("DROP ROLE {deployer}, {app}")).await.unwrap();
}

#[tokio::test]
async fn the_upgrade_and_the_way_back_run_on_the_database_of_the_url_and_drop_nothing() {
    let database = TestDatabase::empty().await;
    release::build(&database, "v0.3.4", true).await;
    let before: i64 = database.value("SELECT count(*) FROM task_usage").await;
    let reader = Reader::of(database).await;
    assert_eq!(follow("docs/upgrading.md", &reader), 4);
    reader.database.program().args(["verify"]).run().expect(0);
    // The release from before the upgrade finds what it left.
    let url = with_database(&reader.database.url, &reader.restored());
    let restored = session(&url).await;
    let rows: i64 = restored.query_one("SELECT count(*) FROM task_usage", &[]).await.unwrap().get(0);
    let daily = "SELECT to_regclass('task_usage_daily') IS NOT NULL AND to_regnamespace('migrate') IS NULL";
    assert!(rows == before && restored.query_one(daily, &[]).await.unwrap().get::<_, bool>(0));
    drop(restored);
    reader.database.batch(&format!("DROP DATABASE {} WITH (FORCE)", reader.restored())).await;
}

#[test]
fn no_page_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for page in pages.filter(|page| page.ends_with(".md")) {
        let page = format!("docs/{page}");
        let commands =
            blocks(&page).iter().any(|(tag, ..)| ["sh", "sql", "bash", "console", "shell"].contains(&tag.as_str()));
        let followed = [
            "evidence",
            "platform",
            "rehearsal",
            "repair-codex-cache",
            "runbook-usage-windows",
            "security",
            "snapshot",
            "upgrading",
            "usage-events",
        ]
        .map(|name| format!("docs/{name}.md"))
        .contains(&page);
        assert_eq!(commands, followed, "{page}: follow it in a test of its own");
    }
    for (page, beginning, _) in NOT_RUN {
        assert!(blocks(page).iter().any(|(.., block)| block.starts_with(beginning)), "{page} has no {beginning}");
    }
}

/// What a page may be linked to by: its headings, as the web shows them.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut inside = false;
    let headings = text.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside && line.starts_with('#')
    });
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|line| line.trim_start_matches('#').trim().chars().filter_map(kept).collect()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain([root.join("README.md")]);
    let mut links = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let to = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(to.exists(), "{}: {link} leads nowhere", page.display());
            let is_there = anchor.is_none_or(|anchor| anchors(&to).iter().any(|is| is == anchor));
            assert!(is_there, "{}: {link} names no heading", page.display());
        }
    }
    assert!(links > 30, "{links}");
}

/// These go to the server of the surroundings unless they are told otherwise, and drop what is there.
#[test]
fn nobody_is_told_to_use_a_program_that_goes_to_a_server_of_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    let mut folders: Vec<PathBuf> = ["docs", "src", "hooks", "migrations"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for program in ["dropdb", "createdb"] {
            assert!(!text.contains(program), "{} names {program}", file.display());
        }
    }
}
