//! One JSON object per line on standard output, or wherever else it is kept.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::output;
use crate::db::is_printable;

/// Adds the set and the time of writing, by this machine's clock, to every object.
pub struct Json {
    set: String,
    /// Takes the lines, instead of standard output.
    keeper: Option<Keeper>,
}

/// Takes a line.
pub(crate) type Keeper = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(flatten)]
    event: &'a T,
    set: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
}

/// The same for a reader who goes by the time.
#[derive(Serialize)]
struct Kept<'a, T> {
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    #[serde(flatten)]
    event: &'a T,
    set: &'a str,
}

impl Json {
    pub(crate) fn new(set: &str) -> Self {
        Self { set: set.to_owned(), keeper: None }
    }

    /// For lines that are kept: the time comes first.
    pub(crate) fn kept_by(set: &str, keeper: Keeper) -> Self {
        Self { set: set.to_owned(), keeper: Some(keeper) }
    }

    /// An object that has its event's name in the field `event`.
    pub fn line(&self, event: &impl Serialize) {
        let (set, time, mut text) = (self.set.as_str(), OffsetDateTime::now_utc(), Vec::new());
        let to = &mut Serializer::with_formatter(&mut text, Printable);
        let written = match self.keeper {
            None => Envelope { event, set, time }.serialize(to),
            Some(_) => Kept { time, event, set }.serialize(to),
        };
        if let (Ok(()), Ok(text)) = (written, String::from_utf8(text)) {
            match &self.keeper {
                None => output::json(text),
                Some(keep) => keep(&text),
            }
        }
    }

    /// An object under the name of its event.
    pub fn named(&self, event: &str, value: &impl Serialize) {
        if let Ok(Value::Object(mut object)) = serde_json::to_value(value) {
            object.insert("event".to_owned(), json!(event));
            self.line(&object);
        }
    }
}

/// Writes control and invisible characters as `\u1234`: the output may go to a terminal. A parser reads the same text.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut shown = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| !is_printable(*c)) {
            writer.write_all(&fragment.as_bytes()[shown..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            shown = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[shown..])
    }
}
