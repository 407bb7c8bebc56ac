//! Migration files: whatever is in them, one that could end its transaction is refused, and one that could not is taken.

use std::time::{Duration, Instant};

use migrate::engine::{Migration, Mode, Repeatable, SetError};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::script::{Script, WORLD, pick};
use super::{cases, how_to_repeat, seeds, try_cases};
use crate::harness::{Dice, TestDatabase};

/// How many statements the reader finds.
fn count(script: &str) -> usize {
    let text = match script.strip_prefix('\u{feff}') {
        Some(rest) => format!("\u{feff}-- migrate: no-transaction\r{rest}"),
        None => format!("-- migrate: no-transaction\n{script}"),
    };
    match Migration::new("V1__fuzz", &text) {
        Ok(migration) => {
            assert_ne!(migration.mode(), &Mode::Transaction, "the directive was not seen: {text:?}");
            1
        }
        Err(SetError::NotOneStatement { found, .. }) => found,
        Err(error) => panic!("{error}: {script:?}"),
    }
}

#[test]
fn a_file_that_ends_its_transaction_is_refused_and_no_other() {
    try_cases(cases(2000), |dice| {
        let script = Script::random(dice, true);
        let control = match Migration::new("V1__fuzz", &script.text) {
            Ok(_) => None,
            Err(SetError::TransactionControl { line, statement, .. }) => Some((line, statement)),
            Err(error) => return Err(format!("{error}: {:?}", script.text)),
        };
        let expected = script.control.map(|(line, statement)| (line, statement.to_owned()));
        if control != expected {
            return Err(format!("found {control:?} instead of {expected:?} in {:?}", script.text));
        }
        if expected.is_none() && count(&script.text) != script.statements {
            return Err(format!("it has {} statements: {:?}", script.statements, script.text));
        }
        Ok(())
    });
}

/// Puts something nasty into a text, or takes something out of it.
fn damage(dice: &mut Dice, text: &mut String) {
    const NASTY: [&str; 22] = [
        "'",
        "\"",
        "\\",
        "$",
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "(",
        ")",
        ";",
        "\n",
        "\r",
        "E'",
        "E",
        "; COMMIT; ",
        "\u{feff}",
        "é",
        "\u{0b}",
        "1",
        "BEGIN ATOMIC ",
    ];
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = *dice.one_of(&places);
    match dice.below(3) {
        0 if at < text.len() => {
            text.remove(at);
        }
        1 => {
            let end = places.iter().copied().find(|end| *end > at + 5).unwrap_or(text.len());
            text.replace_range(at..end, "");
        }
        _ => text.insert_str(at, pick(dice, &NASTY)),
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    try_cases(cases(2000), |dice| {
        let mut text = Script::random(dice, true).text;
        for _ in 0..=dice.below(8) {
            damage(dice, &mut text);
        }
        for head in ["", "-- migrate: no-transaction\n", "-- migrate: no-transaction\rCREATE INDEX CONCURRENTLY "] {
            let _ = Migration::new("V1__fuzz", &format!("{head}{text}"));
        }
        let _ = Repeatable::new("R__fuzz", &format!("-- migrate: since 1\r-- migrate: revision 1\r{text}"));
        Ok(())
    });
}

#[test]
fn no_text_takes_long_to_read() {
    // Without optimisation everything takes ten times as long; what grows with the square would take minutes.
    let (size, limit) = if cfg!(debug_assertions) { (500_000, 5) } else { (5_000_000, 1) };
    let mut slowest = (Duration::ZERO, String::new());
    for piece in [
        "(",
        ")",
        "$a$",
        "$",
        "$a",
        "$$a",
        "'",
        "''",
        "'''\\",
        "\"",
        "E'",
        "E''\n",
        "'\\'\n",
        "E'\\''\n'\\'''\n",
        "/*",
        "*/",
        "--",
        "--\r",
        "\u{feff}",
        "a'\n\u{feff}",
        ";",
        "\\",
        "é",
        "-- migrate: no-transaction\n",
        " ",
        "BEGIN ATOMIC ",
        "CREATE FUNCTION BEGIN ATOMIC;",
        "SELECT 1;\n",
        "COPY (",
        "E'a'\n--",
        "$a$b",
    ] {
        for head in ["", "-- migrate: no-transaction\n", "SELECT E'a'\n", "SELECT $a$", "/*"] {
            let text = format!("{head}{}", piece.repeat(size / piece.len()));
            let started = Instant::now();
            let _ = Migration::new("V1__fuzz", &text);
            slowest = slowest.max((started.elapsed(), format!("{head:?} and many {piece:?}")));
        }
    }
    println!("{size} bytes: at most {:?}, for {}", slowest.0, slowest.1);
    assert!(slowest.0 < Duration::from_secs(limit), "{slowest:?}");
}

/// Sends a script in a transaction. If the server took all of it: how many statements it was; else what it said. An error
/// that the transaction did not survive.
async fn send(session: &Client, script: &str) -> Result<Result<usize, String>, String> {
    const BEGIN: &str = "
        DEALLOCATE ALL;
        SET standard_conforming_strings = on;
        BEGIN;
        INSERT INTO marker VALUES (1);
        SELECT pg_current_xact_id_if_assigned()";
    const SAME: &str = "SELECT pg_current_xact_id_if_assigned()";
    const END: &str = "ROLLBACK; SELECT count(*) FROM marker";
    let value = |messages: &[SimpleQueryMessage]| {
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0).map(str::to_owned))
    };
    let began = value(&session.simple_query(BEGIN).await.expect("a transaction"));
    let sent = session.simple_query(script.strip_prefix('\u{feff}').unwrap_or(script)).await;
    let taken = match &sent {
        Ok(messages) => {
            if value(&session.simple_query(SAME).await.map_err(|error| format!("{error:?}"))?) != began {
                return Err("the transaction is over".to_owned());
            }
            Ok(messages.iter().filter(|message| matches!(message, SimpleQueryMessage::CommandComplete(_))).count())
        }
        Err(error) if error.is_closed() => return Err(format!("the session is over: {error:?}")),
        Err(error) => Err(format!("the server has refused it: {error:?}")),
    };
    let left = value(&session.simple_query(END).await.expect("the end"));
    if left.as_deref() != Some("0") {
        return Err(format!("what was written before is there for good ({sent:?})"));
    }
    Ok(taken)
}

#[tokio::test]
async fn on_a_server_no_file_that_is_taken_ends_its_transaction() {
    let database = TestDatabase::empty().await;
    database.batch(WORLD).await;
    let session = database.session().await;
    session.batch_execute("SET statement_timeout = '10s'; SET client_min_messages = error").await.unwrap();
    let (mut tried, mut taken) = (0_u32, 0_u32);
    for seed in seeds(cases(400)) {
        let mut dice = Dice::new(seed);
        let damages = *dice.one_of(&[0, 0, 1, 1, 2, 3]);
        let mut script = Script::random(&mut dice, damages > 0);
        for _ in 0..damages {
            damage(&mut dice, &mut script.text);
        }
        if Migration::new("V1__fuzz", &script.text).is_err() {
            assert!(damages > 0, "refused: {:?}\n{}", script.text, how_to_repeat(seed));
            continue;
        }
        let sent = send(&session, &script.text).await;
        // The server answers once to no statement, too.
        let found = count(&script.text).max(1);
        let wrong = match &sent {
            Err(what) => Some(what.clone()),
            Ok(Err(refusal)) => (damages == 0).then(|| refusal.clone()),
            Ok(Ok(seen)) => (*seen != found).then(|| format!("the server has seen {seen} statements, and not {found}")),
        };
        if let Some(what) = wrong {
            panic!("{what}: {:?}\n{}", script.text, how_to_repeat(seed));
        }
        tried += u32::from(damages > 0);
        taken += u32::from(damages > 0 && sent == Ok(Ok(found)));
    }
    println!("of {tried} damaged scripts that the reader has taken, the server has taken {taken}");
    assert!(tried < 100 || taken * 20 > tried, "too few scripts are sound");
}
