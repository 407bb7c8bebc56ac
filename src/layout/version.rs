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
/// What is more than a number is interned: each is kept once for the life of the program, which makes a version as cheap as
/// a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(Repr);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Number(i64),
    Other(&'static Other),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Other {
    place: Place,
    name: Option<Box<str>>,
}

/// By what the migrations of a layout are ordered. All of a set have the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Number(i64),
    /// `1.2.3`; no zeros at the end.
    Dotted(Vec<u64>),
    /// Byte by byte.
    Text(Box<str>),
}

/// The one copy of it that is kept for the life of the program.
fn interned(place: Place, name: Option<&str>) -> Version {
    static KNOWN: Mutex<Option<HashSet<&'static Other>>> = Mutex::new(None);
    let other = Other { place, name: name.map(Box::from) };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let kept = known.get(&other).copied().unwrap_or_else(|| {
        let kept: &'static Other = Box::leak(Box::new(other));
        known.insert(kept);
        kept
    });
    Version(Repr::Other(kept))
}

impl Version {
    /// Before all versions: where a database stands that has none.
    pub const NONE: Self = Self::number(0);

    /// A number that no other migration of the set has.
    #[must_use]
    pub const fn number(number: i64) -> Self {
        Self(Repr::Number(number))
    }

    /// A number that others may share, and the name that tells them apart; they are ordered by it, byte by byte.
    #[must_use]
    pub fn named(number: i64, text: &str) -> Self {
        interned(Place::Number(number), Some(text))
    }

    /// Numbers with dots between them: `1.2` is `1.2.0`.
    #[must_use]
    pub fn dotted(numbers: impl IntoIterator<Item = u64>) -> Self {
        interned(Place::Dotted(trimmed(numbers)), None)
    }

    /// The baseline of these numbers: right behind the version of them, and beside it.
    #[must_use]
    pub fn baseline(numbers: impl IntoIterator<Item = u64>) -> Self {
        let numbers = trimmed(numbers);
        let name = format!("B{}", with_dots(&numbers));
        interned(Place::Dotted(numbers), Some(&name))
    }

    /// Text, ordered byte by byte.
    #[must_use]
    pub fn text(text: &str) -> Self {
        interned(Place::Text(text.into()), None)
    }

    /// Text that is shown, of a file that is ordered by `place`, byte by byte.
    #[must_use]
    pub fn placed(place: &str, text: &str) -> Self {
        interned(Place::Text(place.into()), Some(text))
    }

    /// Its number, if it is ordered by one.
    #[must_use]
    pub fn as_number(self) -> Option<i64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Other(Other { place: Place::Number(number), .. }) => Some(*number),
            Repr::Other(_) => None,
        }
    }

    /// Whether the number says all: it is shown as that.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self.0, Repr::Number(_))
    }

    /// Under what a database keeps what belongs to it, where only numbers can be kept: its number, or one that its name
    /// alone decides, below zero.
    #[must_use]
    pub fn key(self) -> i64 {
        match self.0 {
            Repr::Number(number) => number,
            // FNV-1a, which stays what it is from build to build.
            Repr::Other(_) => {
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
        match self.0 {
            Repr::Number(_) | Repr::Other(Other { place: Place::Dotted(_), name: None }) => format!("V{self}"),
            Repr::Other(_) => self.to_string(),
        }
    }
}

fn trimmed(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.into_iter().collect();
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

fn with_dots(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Repr::Number(one), Repr::Number(two)) => one.cmp(&two),
            (Repr::Other(one), Repr::Other(two)) => (&one.place, &one.name).cmp(&(&two.place, &two.name)),
            (Repr::Number(one), Repr::Other(two)) => (&Place::Number(one), &None).cmp(&(&two.place, &two.name)),
            (Repr::Other(_), Repr::Number(_)) => other.cmp(self).reverse(),
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
        match self.0 {
            Repr::Number(number) => number.fmt(f),
            Repr::Other(Other { name: Some(name), .. } | Other { place: Place::Text(name), .. }) => f.write_str(name),
            Repr::Other(Other { place: Place::Dotted(numbers), .. }) => f.write_str(&with_dots(numbers)),
            Repr::Other(Other { place: Place::Number(number), .. }) => number.fmt(f),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Repr::Number(number) => serializer.serialize_i64(number),
            Repr::Other(_) => serializer.collect_str(self),
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
