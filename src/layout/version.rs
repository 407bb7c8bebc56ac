//! What identifies a migration in its set, and its place in the order.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Serialize, Serializer};

/// A migration's version: first its place, then, where that does not tell it from others, its name.
///
/// Shown as its name, or else as its number. As JSON, a number where it is nothing else, otherwise text.
///
/// Names are interned: each is kept once for the life of the program, which makes a version as cheap as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    place: Place,
    name: Option<&'static str>,
}

/// By what the migrations of a layout are ordered. All of a set have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Number(i64),
    /// `1.2.3`; no zeros at the end.
    Dotted(&'static [u64]),
    /// Byte by byte.
    Text(&'static str),
}

/// The one copy of a value that is kept for the life of the program.
fn interned<T: ?Sized + Eq + std::hash::Hash + 'static>(
    known: &Mutex<Option<HashSet<&'static T>>>,
    value: &T,
    keep: impl FnOnce() -> Box<T>,
) -> &'static T {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(kept) = known.get(value) {
        return kept;
    }
    let kept: &'static T = Box::leak(keep());
    known.insert(kept);
    kept
}

fn name(text: &str) -> &'static str {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    interned(&NAMES, text, || text.into())
}

impl Version {
    /// Before all versions: where a database stands that has none.
    pub const NONE: Self = Self::number(0);

    /// A number that no other migration of the set has.
    #[must_use]
    pub const fn number(number: i64) -> Self {
        Self { place: Place::Number(number), name: None }
    }

    /// A number that others may share, and the name that tells them apart; they are ordered by it, byte by byte.
    #[must_use]
    pub fn named(number: i64, text: &str) -> Self {
        Self { place: Place::Number(number), name: Some(name(text)) }
    }

    /// Numbers with dots between them: `1.2` is `1.2.0`.
    #[must_use]
    pub fn dotted(numbers: impl IntoIterator<Item = u64>) -> Self {
        static NUMBERS: Mutex<Option<HashSet<&'static [u64]>>> = Mutex::new(None);
        let mut numbers: Vec<u64> = numbers.into_iter().collect();
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        let kept = interned(&NUMBERS, numbers.as_slice(), || numbers.clone().into());
        Self { place: Place::Dotted(kept), name: None }
    }

    /// The baseline of these numbers: right behind the version of them, and beside it.
    #[must_use]
    pub fn baseline(numbers: impl IntoIterator<Item = u64>) -> Self {
        let version = Self::dotted(numbers);
        Self { name: Some(name(&format!("B{version}"))), ..version }
    }

    /// Text, ordered byte by byte.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { place: Place::Text(name(text)), name: None }
    }

    /// Text that is shown, of a file that is ordered by `place`, byte by byte.
    #[must_use]
    pub fn placed(place: &str, text: &str) -> Self {
        Self { place: Place::Text(name(place)), name: Some(name(text)) }
    }

    /// Its number, if it is ordered by one.
    #[must_use]
    pub fn as_number(self) -> Option<i64> {
        match self.place {
            Place::Number(number) => Some(number),
            Place::Dotted(_) | Place::Text(_) => None,
        }
    }

    /// Whether the number says all: it is shown as that.
    #[must_use]
    pub fn is_number(self) -> bool {
        self.name.is_none() && self.as_number().is_some()
    }

    /// Under what a database keeps what belongs to it, where only numbers can be kept: its number, or one that its name
    /// alone decides, below zero.
    #[must_use]
    pub fn key(self) -> i64 {
        match self.place {
            Place::Number(number) if self.name.is_none() => number,
            // FNV-1a, which stays what it is from build to build.
            _ => {
                let hash = self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
                });
                -1 - hash.cast_signed().rem_euclid(i64::MAX)
            }
        }
    }

    /// How it is called in a sentence: `V103`, or the name.
    #[must_use]
    pub fn label(self) -> String {
        match (self.name, self.place) {
            (None, Place::Number(_) | Place::Dotted(_)) => format!("V{self}"),
            _ => self.to_string(),
        }
    }
}

impl From<i64> for Version {
    fn from(number: i64) -> Self {
        Self::number(number)
    }
}

impl PartialEq<i64> for Version {
    fn eq(&self, number: &i64) -> bool {
        *self == Self::number(*number)
    }
}

impl PartialOrd<i64> for Version {
    fn partial_cmp(&self, number: &i64) -> Option<Ordering> {
        Some(self.cmp(&Self::number(*number)))
    }
}

/// As an operator types it: a number, numbers with dots, or a name.
impl FromStr for Version {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(number) => Self::number(number),
            Err(_) => match text.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>() {
                Ok(numbers) => Self::dotted(numbers),
                Err(_) => Self::text(text),
            },
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.place) {
            (Some(name), _) | (None, Place::Text(name)) => f.write_str(name),
            (None, Place::Number(number)) => number.fmt(f),
            (None, Place::Dotted(numbers)) => {
                let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
                f.write_str(&numbers.join("."))
            }
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.name, self.place) {
            (None, Place::Number(number)) => serializer.serialize_i64(number),
            _ => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_place_then_by_name() {
        let mut versions = [Version::named(79, "079_b"), Version::number(104), Version::named(79, "079_a")];
        versions.sort();
        assert_eq!(versions.map(|version| version.to_string()), ["079_a", "079_b", "104"]);
        assert!(
            Version::dotted([1, 10]) > Version::dotted([1, 9, 5]) && Version::dotted([1, 0]) == Version::dotted([1])
        );
        assert!(Version::placed("10_a.sql", "10") < Version::placed("2_b.sql", "2"));
        let baseline = Version::baseline([2, 0]);
        assert!(Version::dotted([2]) < baseline && baseline < Version::dotted([2, 0, 1]));
        assert_eq!(baseline.label(), "B2");
    }

    #[test]
    fn a_version_is_shown_as_it_is_typed() {
        for text in ["103", "1.2.3", "079_a"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        assert_eq!(
            (Version::number(103).label(), Version::named(79, "079_a").label()),
            ("V103".into(), "079_a".into())
        );
    }
}
