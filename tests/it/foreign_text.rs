//! What others have written, names and messages in the database, reaches a screen or a page only as text: it cannot
//! steer a terminal, begin a line of ours, or become an element.

use std::process::{Command, Stdio};

use html5gum::{Token, Tokenizer};

use crate::harness::{Dice, Finished, TestDatabase, latest, seed};

/// What has fooled somebody before, in one string each.
const HOSTILE: [&str; 6] = [
    "m\r\nerror: EVERYTHING OK\nnext: psql -c 'DROP TABLE task_usage'",
    "\u{1b}[2J\u{1b}[1;31m\u{1b}]0;owned\u{7}\u{1b}[1m",
    "<img src=x onerror=alert(1)>\"'</dd><script>&lt;",
    "a\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}\u{2028}\u{e0041}",
    "\u{9b}31m\u{85}\u{7f}\u{8}\u{c}\u{b}\t\u{ad}",
    "=cmd|' /C calc'!A0",
];

/// Any characters at all, but for the one that PostgreSQL cannot hold.
fn anything(dice: &mut Dice) -> String {
    let character = |dice: &mut Dice| match dice.below(4) {
        0 => char::from_u32(dice.below(0xa0) as u32),
        1 => char::from_u32(0x2000 + dice.below(0x70) as u32),
        2 => HOSTILE[dice.below(6) as usize].chars().nth(dice.below(12) as usize),
        _ => char::from_u32(dice.below(0x11_0000) as u32),
    };
    (0..40).filter_map(|_| character(dice)).filter(|c| *c != '\0').collect()
}

/// A database in which every foreign string that a verb shows can be set.
async fn stage() -> TestDatabase {
    let database = TestDatabase::at_version(latest(), 60, 20).await;
    database.program().args(["repair", "hourly-rollup", "--execute"]).run().expect(0);
    database
        .batch(
            "SELECT rollup_task_usage_hourly_window(now() - interval '1 day', now() + interval '1 second');
             UPDATE task_usage_hourly_rollup_state SET watermark_at = now() - interval '5 minutes';
             CREATE TABLE said (text text NOT NULL);
             INSERT INTO said VALUES ('');
             CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE v_text text := (SELECT text FROM said);
             BEGIN
                 RAISE WARNING USING MESSAGE = v_text, DETAIL = v_text, HINT = v_text;
                 RAISE EXCEPTION USING MESSAGE = v_text, DETAIL = v_text, HINT = v_text;
             END $$;
             INSERT INTO migrate.repair_run (id, repair, arguments, state, digest)
             SELECT 90, 'codex-cache', '{}', 'done', 'x'",
        )
        .await;
    database
}

/// Writes a text to wherever one is read from.
async fn plant(database: &TestDatabase, text: &str) {
    let session = database.session().await;
    for statement in [
        "UPDATE said SET text = $1",
        "UPDATE task_usage_hourly_rollup_state SET last_error = $1",
        "UPDATE task_usage_hourly SET model = $1, provider = $1
         WHERE ctid = (SELECT ctid FROM task_usage_hourly ORDER BY bucket_hour, input_tokens LIMIT 1)",
        "UPDATE migrate.repair_run
         SET repair = $1, run_by = $1, run_from = $1, tool_version = $1, digest = $1,
             arguments = jsonb_build_object('a', $1::text), totals = jsonb_build_object('a', $1::text)
         WHERE id = 90",
        "UPDATE migrate.history_platform SET name = $1 WHERE version = 74",
        "UPDATE migrate.hook_run SET summary = $1",
    ] {
        session.execute(statement, &[&text]).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

const VERBS: [&[&str]; 8] = [
    &["status"],
    &["up"],
    &["up", "--dry-run", "-v"],
    &["verify", "history"],
    &["verify", "schema", "-v"],
    &["verify", "rollup", "-v"],
    &["rollup", "status"],
    &["repair", "runs", "-v"],
];

fn is_printable(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !invisible
}

/// Fails if anything but a line break of ours steers the screen.
fn assert_printable(args: &[&str], text: &str) {
    let steering = text.chars().find(|c| *c != '\n' && !is_printable(*c));
    assert!(steering.is_none(), "{args:?} lets {steering:?} through:\n{text:?}");
}

fn lines(finished: &Finished) -> (usize, usize) {
    (finished.stdout.lines().count(), finished.told().lines().count())
}

#[tokio::test]
async fn no_foreign_text_steers_a_terminal_or_forges_a_line() {
    let database = stage().await;
    plant(&database, "harmless").await;
    let usual = VERBS.map(|args| lines(&database.program().args(args.iter().copied()).run()));
    let mut dice = Dice::new(seed("MIGRATE_TEXT_SEED"));
    let mut texts: Vec<String> = HOSTILE.map(str::to_owned).to_vec();
    texts.extend((0..4).map(|_| anything(&mut dice)));
    for text in &texts {
        plant(&database, text).await;
        for (args, usual) in VERBS.iter().zip(usual) {
            let shown = database.program().args(args.iter().copied()).run();
            assert_printable(args, &shown.stdout);
            assert_printable(args, &shown.stderr);
            assert_eq!(lines(&shown), usual, "{args:?} with {text:?}:\n{}\n{}", shown.stdout, shown.stderr);
        }
        let json = database.program().args(["rollup", "status", "--format", "json"]).run().expect(0);
        assert!(json.stdout.chars().all(|c| c == '\n' || is_printable(c)), "{:?}", json.stdout);
        assert_eq!(json.events("rollup")[0]["last_error"], text.as_str(), "JSON is exact");
    }
}

/// A message may have lines, and they are kept; but those behind the first are told apart from ours by their indentation.
#[tokio::test]
async fn a_message_of_several_lines_stays_readable_and_forges_none_of_ours() {
    let database = stage().await;
    let look = || database.program().args(["rollup", "tick"]).run();
    database
        .batch("CREATE TRIGGER speak BEFORE UPDATE ON task_usage_hourly_rollup_state EXECUTE FUNCTION speak()")
        .await;
    database.batch("UPDATE said SET text = E'first\\nsecond\\nnext: third'").await;
    let shown = look();
    assert!(shown.status.code() == Some(1), "{}", shown.stderr);
    assert!(shown.stderr.matches("second").count() >= 6, "{}", shown.stderr);
    for text in HOSTILE {
        database.session().await.execute("UPDATE said SET text = $1", &[&text]).await.unwrap();
        let shown = look();
        assert_printable(&["rollup", "tick"], &shown.stderr);
        for line in shown.stderr.lines() {
            let ours = ["warning: ", "  ", "error: the server refused a statement"];
            let logged = line.starts_with("20") && line.contains("  WARN ");
            assert!(logged || ours.iter().any(|beginning| line.starts_with(beginning)), "{line:?} is not ours");
            assert!(!line.trim_start().starts_with("error: EVERYTHING") || line.starts_with("    "), "{line:?}");
        }
    }
}

/// On a terminal there are colours, and they are all ours.
#[tokio::test]
async fn on_a_terminal_only_our_own_colours_are_drawn() {
    const OURS: [&str; 5] = ["\x1b[1m", "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"];
    let database = stage().await;
    let drawn = |args: &[&str]| {
        let command = format!("{} {}", env!("CARGO_BIN_EXE_migrate"), args.join(" "));
        let shown = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("DATABASE_URL", &database.url)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .expect("script(1)");
        String::from_utf8(shown.stdout).unwrap().replace("\r\n", "\n")
    };
    let count = |text: &str| OURS.map(|colour| text.matches(colour).count());
    let verbs = [VERBS[0], VERBS[1], VERBS[6], VERBS[7]];
    plant(&database, "harmless").await;
    let usual = verbs.map(|args| count(&drawn(args)));
    assert!(usual.iter().any(|colours| colours[0] > 0), "it is a terminal: {usual:?}");
    for text in HOSTILE {
        plant(&database, text).await;
        for (args, usual) in verbs.iter().zip(usual) {
            let shown = drawn(args);
            assert_eq!(count(&shown), usual, "{args:?} with {text:?}:\n{shown:?}");
            assert_printable(args, &OURS.iter().fold(shown, |shown, colour| shown.replace(colour, "")));
        }
    }
}

/// The page's elements, in the order in which a browser meets them, attributes and all.
fn elements(page: &str) -> Vec<String> {
    Tokenizer::new(page)
        .map(Result::unwrap)
        .filter_map(|token| match token {
            Token::StartTag(tag) => Some(format!("{tag:?}")),
            Token::EndTag(tag) => Some(format!("/{tag:?}")),
            Token::Comment(_) | Token::Doctype(_) => Some("other".to_owned()),
            _ => None,
        })
        .map(|text| {
            // Where in the page it stands does not count.
            let spans = text.split("span:").map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
            spans.collect()
        })
        .collect()
}

#[tokio::test]
async fn the_page_has_the_same_elements_whatever_it_quotes() {
    let database = TestDatabase::at_version(latest(), 60, 20).await;
    let path = std::env::temp_dir().join(format!("{}.html", database.name));
    let path = path.to_str().unwrap();
    let cutoff: String = database.value("SELECT to_json(now()) #>> '{}'").await;
    let execute = || {
        let args = ["repair", "codex-cache", "--cutoff", &cutoff, "--execute", "--report", path];
        database.program().args(args).run()
    };
    execute().expect(0);
    let mut dice = Dice::new(seed("MIGRATE_TEXT_SEED"));
    let mut usual = None;
    let mut texts = vec!["harmless".to_owned()];
    texts.extend(HOSTILE.map(str::to_owned));
    texts.extend((0..6).map(|_| anything(&mut dice)));
    for text in texts {
        let forge = "UPDATE migrate.repair_run SET state = 'interrupted', digest = $1 WHERE id = 1";
        database.session().await.execute(forge, &[&text]).await.unwrap();
        execute().expect(0);
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains("when it began"), "the digest is quoted:\n{page}");
        assert_printable(&["--report"], &page);
        let found = elements(&page);
        assert!(found.len() > 20);
        assert_eq!(usual.get_or_insert_with(|| found.clone()), &found, "{text:?}");
    }
    std::fs::remove_file(path).unwrap();
}
