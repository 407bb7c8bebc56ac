//! One JSON object per line on standard output.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::output;
use crate::db::is_printable;

/// Adds the set and the time of writing, by this machine's clock, to every object.
pub struct Json {
    set: String,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(flatten)]
    event: &'a T,
    set: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
}

impl Json {
    pub(crate) fn new(set: &str) -> Self {
        Self { set: set.to_owned() }
    }

    /// An object that has its event's name in the field `event`.
    pub fn line(&self, event: &impl Serialize) {
        let envelope = Envelope { event, set: &self.set, time: OffsetDateTime::now_utc() };
        let mut text = Vec::new();
        let written = envelope.serialize(&mut Serializer::with_formatter(&mut text, Printable));
        if let (Ok(()), Ok(text)) = (written, String::from_utf8(text)) {
            output::json(text);
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
