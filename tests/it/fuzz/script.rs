//! Scripts of nasty SQL whose meaning is known, because of how they are put together.

use crate::harness::Dice;

/// What would be seen as something else if the text around it were misread.
const HIDDEN: [&str; 22] = [
    "; COMMIT;",
    ";\tcommit ;",
    "; END;",
    ";BEGIN;",
    "BEGIN ATOMIC",
    "CREATE FUNCTION f()",
    "CASE",
    "'",
    "''",
    "\"",
    "\\",
    "\\\\",
    "E'",
    "U&\"",
    "$$",
    "$a$",
    "$é$",
    "(",
    ")",
    "--",
    "é \u{a0}\u{feff}",
    " * ",
];

const NEWLINES: [&str; 3] = ["\n", "\r", "\r\n"];

/// Names without quotes, for a column.
const LABELS: [&str; 13] =
    ["end", "case", "begin", "atomic", "commit", "e", "n", "u", "x1e", "a$b$c$", "b$$", "é$a$", "\u{feff}$a$"];

/// What begins, ends or replaces a transaction, and how the reader names it.
const CONTROL: [(&str, &str); 17] = [
    ("BEGIN", "BEGIN"),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN"),
    ("START TRANSACTION", "START TRANSACTION"),
    ("COMMIT", "COMMIT"),
    ("COMMIT WORK", "COMMIT"),
    ("COMMIT AND CHAIN", "COMMIT"),
    ("END", "END"),
    ("END TRANSACTION", "END"),
    ("ROLLBACK", "ROLLBACK"),
    ("ROLLBACK TRANSACTION", "ROLLBACK"),
    ("ROLLBACK WORK AND NO CHAIN", "ROLLBACK"),
    ("ABORT", "ABORT"),
    ("ABORT WORK", "ABORT"),
    ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
    ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
    ("ROLLBACK PREPARED 'x'", "ROLLBACK PREPARED"),
    ("END AND CHAIN", "END"),
];

/// What changes the session or the transaction, but not how this script is read.
const SETTINGS: [&str; 4] = [
    "SET standard_conforming_strings = off",
    "RESET ROLE",
    "SET TRANSACTION READ WRITE",
    "SET LOCAL my.own = 'COMMIT;'",
];

/// What the scripts need to find.
pub const WORLD: &str = "
    CREATE TABLE t (a text);
    CREATE TABLE b (begin int);
    CREATE TABLE marker (n bigint)";

/// A script that a server accepts, unless it has control.
pub struct Script {
    pub text: String,
    /// How many statements it has.
    pub statements: usize,
    /// The first statement that a migration must not have: its line, and its name.
    pub control: Option<(usize, &'static str)>,
}

impl Script {
    /// Some statements, one of them perhaps control.
    pub fn random(dice: &mut Dice, may_control: bool) -> Self {
        let mut script = Self { text: String::new(), statements: 0, control: None };
        if dice.below(6) == 0 {
            script.text.push('\u{feff}');
        }
        let count = dice.below(7);
        let control_at = if may_control && dice.below(2) == 0 { dice.below(count + 1) } else { count + 1 };
        for at in 0..=count {
            if at == control_at {
                script.push_control(dice);
            }
            if at < count {
                script.push(dice);
            }
        }
        let (open, gap) = (dice.below(3) == 0, maybe_gap(dice));
        if open && script.text.ends_with(';') {
            script.text.pop();
        }
        script.text.push_str(&gap);
        script
    }

    fn push_control(&mut self, dice: &mut Dice) {
        let (text, name) = *dice.one_of(&CONTROL);
        self.text.push_str(&maybe_gap(dice));
        let before = self.text.replace("\r\n", "\n").replace('\r', "\n");
        self.control = Some((before.matches('\n').count() + 1, name));
        let (text, gap) = (spaced(dice, text), maybe_gap(dice));
        self.text.push_str(&format!("{text}{gap};"));
    }

    /// Adds a statement: its words with gaps in between, and its end.
    fn add(&mut self, dice: &mut Dice, words: &str) {
        let text = spaced(dice, words);
        self.text.push_str(&maybe_gap(dice));
        self.text.push_str(&text);
        self.text.push_str(&maybe_gap(dice));
        self.text.push(';');
        self.statements += 1;
    }

    fn push(&mut self, dice: &mut Dice) {
        let value = expression(dice);
        let several = |dice: &mut Dice| {
            (0..dice.below(4)).map(|_| format!("{};{}", select(dice), maybe_gap(dice))).collect::<String>()
        };
        let of_sql = ["'SELECT 1'", "E'SELECT \\x31'", "$b$SELECT 1$b$", "'SELECT '\n'1'", "U&'SELECT \\0031'"];
        match dice.below(14) {
            0..3 => {
                let select = select(dice);
                self.push_as_it_is(dice, &select);
            }
            3 => {
                self.add(dice, "INSERT INTO t VALUES");
                self.go_on(dice, &format!("({value})"));
            }
            4 => {
                let body = format!("BEGIN{}PERFORM 1; END", gap(dice));
                let text = dollar(dice, &body);
                self.add(dice, "DO");
                self.go_on(dice, &text);
            }
            5 => {
                let body = several(dice);
                self.add(dice, "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC");
                self.go_on(dice, &format!("{body}{}", ["END", "end", "End"][body.len() % 3]));
            }
            6 => {
                let body = several(dice);
                self.add(dice, "CREATE PROCEDURE");
                let routine = format!("p{}() BEGIN /* ; */ ATOMIC{}{body}END", self.statements, gap(dice));
                self.go_on(dice, &routine);
            }
            7 => {
                let body = several(dice);
                self.add(dice, "CREATE OR REPLACE RULE r AS ON UPDATE TO t DO ALSO");
                self.go_on(dice, &format!("({body} NOTIFY n)"));
            }
            8 => self.add(dice, "CREATE OR REPLACE VIEW v AS SELECT begin atomic FROM b"),
            9 => {
                let body = *dice.one_of(&of_sql);
                self.add(dice, "CREATE OR REPLACE FUNCTION begin (atomic int) RETURNS int LANGUAGE sql AS");
                self.go_on(dice, body);
            }
            10 => {
                let back = ["ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a", "ROLLBACK TRANSACTION TO a"];
                self.add(dice, "SAVEPOINT a");
                let back = *dice.one_of(&back);
                self.add(dice, back);
                self.add(dice, "RELEASE a");
            }
            11 => {
                self.add(dice, "PREPARE p AS SELECT 1");
                self.add(dice, "DEALLOCATE p");
            }
            12 => {
                let words = *dice.one_of(&SETTINGS);
                self.add(dice, words);
            }
            _ => {
                self.text.push_str(&maybe_gap(dice));
                self.text.push(';');
            }
        }
    }

    /// More of the statement added last.
    fn go_on(&mut self, dice: &mut Dice, text: &str) {
        self.text.pop();
        let gap = gap(dice);
        self.text.push_str(&format!("{gap}{text}{};", maybe_gap(dice)));
    }

    fn push_as_it_is(&mut self, dice: &mut Dice, statement: &str) {
        self.text.push_str(&format!("{}{statement};", maybe_gap(dice)));
        self.statements += 1;
    }
}

pub fn pick<'a>(dice: &mut Dice, choices: &[&'a str]) -> &'a str {
    choices[usize::try_from(dice.below(choices.len() as u64)).expect("a small number")]
}

/// Words in any case, with gaps in between.
fn spaced(dice: &mut Dice, words: &str) -> String {
    let mut text = String::new();
    for word in words.split(' ') {
        if !text.is_empty() {
            text.push_str(&gap(dice));
        }
        text.push_str(&match dice.below(3) {
            0 => word.to_ascii_lowercase(),
            1 => word.chars().enumerate().map(|(i, c)| if i % 2 == 0 { c } else { c.to_ascii_lowercase() }).collect(),
            _ => word.to_owned(),
        });
    }
    text
}

fn maybe_gap(dice: &mut Dice) -> String {
    if dice.below(2) == 0 { String::new() } else { gap(dice) }
}

/// What separates words.
fn gap(dice: &mut Dice) -> String {
    let mut text = String::new();
    for _ in 0..=dice.below(3) {
        text.push_str(&match dice.below(8) {
            0 => format!("--{}{}", hidden(dice), dice.one_of(&NEWLINES)),
            1 => format!("/*{}*/", hidden(dice)),
            2 => format!("/*{}/*{}*/{}*/", hidden(dice), hidden(dice), hidden(dice)),
            _ => pick(dice, &[" ", "\t", "\n", "\r", "\r\n", "\x0c"]).to_owned(),
        });
    }
    text
}

fn hidden(dice: &mut Dice) -> String {
    (0..dice.below(4)).map(|_| *dice.one_of(&HIDDEN)).collect()
}

fn select(dice: &mut Dice) -> String {
    let mut text = spaced(dice, "SELECT");
    for column in 0..=dice.below(3) {
        if column > 0 {
            text.push(',');
        }
        text.push_str(&format!("{}{}", gap(dice), expression(dice)));
        let label = *dice.one_of(&LABELS);
        text.push_str(&match dice.below(4) {
            0 => format!("{}AS{}{label}", gap(dice), gap(dice)),
            1 if text.ends_with('\'') => label.to_owned(),
            1 => format!("{}{label}", gap(dice)),
            2 => format!("{}AS{}{}", gap(dice), gap(dice), quoted_name(dice)),
            _ => maybe_gap(dice),
        });
    }
    text
}

fn expression(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => format!("CASE{}WHEN true THEN {} ELSE {} END", gap(dice), string(dice), string(dice)),
        1 => format!("({} )", string(dice)),
        2 => format!("name{}", plain(dice)),
        3 => format!("'a'LIKE{}||'%'", plain(dice).replace('\\', "")),
        4 => format!("1{}--{}{}2", pick(dice, &["+", "*", "<>", "=", "<="]), hidden(dice), dice.one_of(&NEWLINES)),
        5 => format!("6{}/*{}*/2", pick(dice, &["+", "*", "/", ">="]), hidden(dice)),
        6 => format!("ARRAY[{}||'']", string(dice)),
        _ => string(dice),
    }
}

/// A string of any kind.
fn string(dice: &mut Dice) -> String {
    match dice.below(10) {
        0..3 => plain(dice),
        3..6 => escape(dice),
        6 => {
            let body = hidden(dice);
            dollar(dice, &body)
        }
        7 => format!("{}{}", pick(dice, &["U&", "u&"]), plain(dice).replace('\\', "\\\\")),
        8 => format!("{}{}", pick(dice, &["N", "n"]), plain(dice)),
        _ => format!("{}'01'{}::text", pick(dice, &["B", "x"]), if dice.below(2) == 0 { "\n'10'" } else { "" }),
    }
}

fn plain(dice: &mut Dice) -> String {
    let mut text = format!("'{}'", hidden(dice).replace('\'', "''"));
    while dice.below(3) == 0 {
        text.push_str(&format!("{}'{}'", gap_in_string(dice), hidden(dice).replace('\'', "''")));
    }
    text
}

/// A string in which backslashes count, in one or more pieces.
fn escape(dice: &mut Dice) -> String {
    let mut text = pick(dice, &["E", "e"]).to_owned();
    loop {
        text.push('\'');
        for _ in 0..dice.below(5) {
            let quote = pick(dice, &["''", "\\'", "\\x27", "\\'\\\\"]);
            text.push_str(&dice.one_of(&HIDDEN).replace('\\', "\\\\").replace('\'', quote));
        }
        text.push('\'');
        if dice.below(2) == 0 {
            return text;
        }
        text.push_str(&gap_in_string(dice));
    }
}

/// What may stand between two pieces of a string: at least one line break, and no comment but `--`.
fn gap_in_string(dice: &mut Dice) -> String {
    let mut text = String::new();
    for _ in 0..dice.below(3) {
        text.push_str(pick(dice, &[" ", "\t", "\x0c"]));
    }
    if dice.below(3) == 0 {
        text.push_str(&format!("--{}", hidden(dice)));
    }
    text.push_str(pick(dice, &NEWLINES));
    for _ in 0..dice.below(3) {
        let comment = format!("--{}{}", hidden(dice), dice.one_of(&NEWLINES));
        text.push_str(pick(dice, &[" ", "\r", comment.as_str()]));
    }
    text
}

fn dollar(dice: &mut Dice, body: &str) -> String {
    let tag = pick(dice, &["$$", "$a$", "$é$", "$_1$", "$COMMIT$"]);
    let mut body = body.to_owned();
    while body.contains(tag) {
        body = body.replace(tag, "");
    }
    // Its last character must not begin the tag.
    format!("{tag}{body} {tag}")
}

fn quoted_name(dice: &mut Dice) -> String {
    let name = format!("\"x{}\"", hidden(dice).replace('"', "\"\""));
    if dice.below(3) == 0 { format!("U&{}", name.replace('\\', "\\\\")) } else { name }
}
