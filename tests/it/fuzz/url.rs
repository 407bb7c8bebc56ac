//! Connection URLs with passwords of every byte, written rightly and wrongly: whatever comes of them, nobody sees the
//! password.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use migrate::db::Database;

use super::{cases, try_cases};
use crate::harness::{Dice, TestDatabase, with_authority};

/// What passwords are made of beside other bytes; nothing else in a URL is, and no message has two of them in a row.
const SECRET: &[u8] = b"QXZJ";

/// What means something in a URL, in a keyword string, to a shell or to a terminal.
const SPECIAL: &[u8] = b"@@@//::??##%%&&=='\\\"[],;+ \t\n.-_0123456789<>|~`^{}()!$*\x1b\x7f";

/// Options that are right, so that a wrong one among them is told by its name alone.
const OPTIONS: &[(&str, &str)] = &[
    ("connect_timeout", "3"),
    ("application_name", "me@home"),
    ("sslmode", "disable"),
    ("target_session_attrs", "read-write"),
    ("options", "-csearch_path%3Dapp"),
    ("keepalives_idle", "5"),
];

const HOSTS: &[(&str, &str)] = &[
    ("db.internal", "db.internal:5432"),
    ("127.0.0.1:1", "127.0.0.1:1"),
    ("[::1]:2", "[::1]:2"),
    ("db.internal:3,b.internal:4", "db.internal:3"),
    ("%2Fvar%2Frun%2Fdb", "/var/run/db:5432"),
];

/// One text that should be a connection URL.
struct Case {
    text: Vec<u8>,
    password: Vec<u8>,
    /// How the database shows itself, if the text is right.
    shown: Option<String>,
}

impl Case {
    /// Three characters of the password in a row, among them so many that stand nowhere else, that `output` holds.
    fn leak(&self, output: &str, secret: usize) -> Option<String> {
        self.password
            .windows(3)
            .filter(|piece| piece.iter().filter(|byte| SECRET.contains(byte)).count() >= secret)
            .filter_map(|piece| std::str::from_utf8(piece).ok())
            .find(|piece| output.contains(piece))
            .map(str::to_owned)
    }

    fn assert_silent(&self, output: &str, secret: usize) {
        if let Some(piece) = self.leak(output, secret) {
            panic!("{piece:?} of {} is in: {output}", String::from_utf8_lossy(&self.text));
        }
    }
}

fn bytes(dice: &mut Dice, any: bool) -> Vec<u8> {
    let length = 3 + dice.below(16);
    let byte = |dice: &mut Dice| match dice.below(if any { 6 } else { 5 }) {
        0..3 => *dice.one_of(SECRET),
        3..5 => *dice.one_of(SPECIAL),
        // PostgreSQL knows no zero byte.
        _ => u8::try_from(1 + dice.below(255)).expect("a byte"),
    };
    (0..length).map(|_| byte(dice)).collect()
}

fn encoded(bytes: &[u8], dice: &mut Dice, some: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        if (SECRET.contains(byte) || some) && dice.below(2) == 0 {
            text.push(*byte);
        } else {
            text.extend(format!("%{byte:02X}").bytes());
        }
    }
    text
}

/// As in a keyword string: behind a backslash what would mean something.
fn escaped(bytes: &[u8], blanks: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        if b"'\\".contains(byte) || blanks && byte.is_ascii_whitespace() {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

fn url(dice: &mut Dice) -> Case {
    let form = dice.below(5);
    let password = bytes(dice, form < 2);
    let (host, address) = *dice.one_of(HOSTS);
    let written = match form {
        0 | 1 => encoded(&password, dice, false),
        2 => encoded(&password, dice, true),
        _ => password.clone(),
    };
    let in_query = form == 1 || form == 3;
    let scheme = *dice.one_of(&["postgres://", "postgresql://"]);
    let mut text = format!("{scheme}app").into_bytes();
    if !in_query {
        text.push(b':');
        text.extend(&written);
    }
    text.extend(format!("@{host}/usage").bytes());
    let mut separator = b'?';
    let mut option = |text: &mut Vec<u8>, option: &[u8]| {
        text.push(std::mem::replace(&mut separator, b'&'));
        text.extend(option);
    };
    let at = dice.below(3);
    for number in 0..3 {
        if in_query && number == at {
            option(&mut text, &[b"password=", &written[..]].concat());
        }
        if dice.below(2) == 0 {
            let (name, value) = *dice.one_of(OPTIONS);
            option(&mut text, format!("{name}={value}").as_bytes());
        }
    }
    let shown = (form < 2).then(|| format!("app@{address}/usage"));
    Case { text, password, shown }
}

fn keywords(dice: &mut Dice) -> Case {
    let form = dice.below(4);
    // A keyword string has no way to write what is not UTF-8.
    let password = bytes(dice, false);
    let written = match form {
        0 => [b"'", &escaped(&password, false)[..], b"'"].concat(),
        1 => escaped(&password, true),
        2 => [b"'", &password[..], b"'"].concat(),
        _ => password.clone(),
    };
    let blank = *dice.one_of(&[" ", "  ", " \n\t"]);
    let equals = *dice.one_of(&["=", " = ", "= "]);
    let mut words = [
        b"host=db.internal".to_vec(),
        b"user=app".to_vec(),
        b"dbname='usage'".to_vec(),
        [b"password", equals.as_bytes(), &written[..]].concat(),
    ];
    let turn = usize::try_from(dice.below(4)).expect("a small number");
    words.rotate_left(turn);
    // The blank that an unquoted password begins with belongs to nobody.
    let right = form == 0 || form == 1 && (equals == "=" || !password.contains(&b'='));
    let shown = right.then(|| "app@db.internal:5432/usage".to_owned());
    Case { text: words.join(blank.as_bytes()), password, shown }
}

/// The slips of a hand: something lost, doubled, or in the wrong place.
fn damaged(mut case: Case, dice: &mut Dice) -> Case {
    case.shown = None;
    // Where nothing parts user, password and host any more, what is left is another right URL.
    let parts = |at: usize| case.text[at] == b'@' || case.text[..=at].ends_with(b"://app:");
    let is_secret = |at: usize| SECRET.contains(&case.text[at]);
    let spots: Vec<usize> = (0..case.text.len()).filter(|at| !is_secret(*at) && !parts(*at)).collect();
    let at = *dice.one_of(&spots);
    match dice.below(4) {
        0 => drop(case.text.remove(at)),
        1 => case.text.insert(at, *dice.one_of(SPECIAL)),
        2 => case.text[at] = *dice.one_of(SPECIAL),
        _ => {
            let front = *dice.one_of(&["jdbc:", "'", " ", "DATABASE_URL=", "\u{feff}", "\""]);
            case.text.splice(0..0, front.bytes());
        }
    }
    case
}

fn case(dice: &mut Dice) -> Case {
    let case = if dice.below(3) == 0 { keywords(dice) } else { url(dice) };
    if dice.below(6) == 0 { damaged(case, dice) } else { case }
}

#[test]
fn no_url_shows_its_password() {
    try_cases(cases(2_000), |dice| {
        let case = case(dice);
        let Ok(text) = std::str::from_utf8(&case.text) else { return Ok(()) };
        match Database::from_url(text) {
            Ok(database) => {
                let said =
                    format!("{database} {database:?} {} {} {}", database.name(), database.user(), database.server());
                case.assert_silent(&said, 1);
                if let Some(shown) = &case.shown {
                    assert_eq!(database.to_string(), *shown, "{text}");
                }
            }
            Err(error) => {
                case.assert_silent(&format!("{error} {error:?} {:?}", std::error::Error::source(&error)), 1);
                assert_eq!(case.shown, None, "{text}: {error}");
            }
        }
        Ok(())
    });
}

#[test]
fn the_program_shows_no_password_of_any_url() {
    // Each starts a process.
    try_cases(cases(2_000).div_ceil(40), |dice| {
        let mut case = case(dice);
        if dice.below(4) == 0 {
            case.text.insert(case.text.len() / 2, 0xff);
        }
        let mut program = Command::new(env!("CARGO_BIN_EXE_migrate"));
        program.env_remove("DATABASE_URL").env_remove("MIGRATE_DATABASE_URL").env_remove("MIGRATE_LOG");
        program.stdin(Stdio::null()).args(["status", "-vv"]);
        // Nobody is to wait for a host that is not there.
        let nobody = String::from_utf8_lossy(&case.text).replace("db.internal", "127.0.0.1:1").into_bytes();
        let text = if std::str::from_utf8(&case.text).is_ok() { nobody } else { case.text.clone() };
        let text = OsString::from_vec(text);
        match dice.below(5) {
            0 => program.arg("--database-url").arg(&text),
            1 => program.arg([OsString::from("--database-url="), text].into_iter().collect::<OsString>()),
            2 => program.env("MIGRATE_DATABASE_URL", &text),
            3 => program.env("DATABASE_URL", &text),
            // Forgotten: the name of the flag.
            _ => program.arg(&text),
        };
        let ended = program.output().expect("the program starts");
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        case.assert_silent(&said, 2);
        assert!(matches!(ended.status.code(), Some(2 | 6)), "{}\n{said}", String::from_utf8_lossy(&case.text));
        Ok(())
    });
}

#[tokio::test]
async fn a_password_of_special_characters_gets_in() {
    let database = TestDatabase::empty().await;
    let role = format!("{}_odd", database.name);
    database.batch(&format!("CREATE ROLE {role} LOGIN")).await;
    let password = r#"p@s's/w\0:r?d#%&=%41+[ ]""#;
    database.batch(&format!("ALTER ROLE {role} PASSWORD '{}'", password.replace('\'', "''"))).await;
    let in_url: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let url = with_authority(&database.url, Some(&format!("{role}:{in_url}")), None);
    let in_query = format!("{}?password={in_url}", with_authority(&database.url, Some(&role), None));
    let (_, address) = url.split_once('@').expect("a URL with a user");
    let (address, _) = address.split_once('/').expect("a URL with a database");
    let (host, port) = address.split_once(':').expect("a host and a port");
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    let keywords = format!("host={host} port={port} user={role} dbname={} password='{quoted}'", database.name);
    for url in [url, in_query, keywords] {
        crate::harness::Program::new().env("DATABASE_URL", &url).args(["status"]).run().expect(0);
    }
    database.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
