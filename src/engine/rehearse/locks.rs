//! Locks on tables, put together from samples.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::db::as_seconds;

/// The modes of a lock on a table, each stronger than those before it.
const MODES: [(&str, &str); 8] = [
    ("AccessShareLock", "ACCESS SHARE"),
    ("RowShareLock", "ROW SHARE"),
    ("RowExclusiveLock", "ROW EXCLUSIVE"),
    ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
    ("ShareLock", "SHARE"),
    ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
    ("ExclusiveLock", "EXCLUSIVE"),
    ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
];

/// A table.
type Oid = u32;

/// A kind of holding whose length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Held {
    /// The mode at this place of [`MODES`].
    Mode(usize),
    /// Any of the modes that a write has to wait for.
    AgainstWrites,
}

/// The strongest lock that a step took on one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableLock {
    /// The table, qualified.
    pub table: String,
    /// The mode, in SQL's words: `SHARE UPDATE EXCLUSIVE`.
    pub strongest: &'static str,
    /// The longest time without a break that it can have been held: from the last look that did not see it to the first one
    /// that no longer did.
    #[serde(serialize_with = "as_seconds")]
    pub held_at_most: Duration,
    /// The same for all modes that a write to the table waits for; zero if there was none.
    #[serde(serialize_with = "as_seconds")]
    pub blocked_writes_at_most: Duration,
    /// The same for the mode that a read waits for, too.
    #[serde(serialize_with = "as_seconds")]
    pub blocked_reads_at_most: Duration,
}

/// What the samples of one step have seen so far.
pub(super) struct Locks {
    /// When the last sample was asked for: what it did not see was not there at that moment, or came after it.
    last: Instant,
    open: HashMap<(Oid, Held), Instant>,
    longest: BTreeMap<(Oid, Held), Duration>,
}

impl Locks {
    /// Nothing is held at this moment.
    pub fn new(at: Instant) -> Self {
        Self { last: at, open: HashMap::new(), longest: BTreeMap::new() }
    }

    /// Takes a sample in, which was asked for and answered at these moments: tables with the modes held on them.
    pub fn add<'m>(&mut self, asked: Instant, answered: Instant, held: impl IntoIterator<Item = (Oid, &'m str)>) {
        let mut now = HashSet::new();
        for (table, mode) in held {
            let Some(place) = MODES.iter().position(|(name, _)| *name == mode) else { continue };
            now.insert((table, Held::Mode(place)));
            // From SHARE on, a mode conflicts with the ROW EXCLUSIVE of a write.
            if place >= 4 {
                now.insert((table, Held::AgainstWrites));
            }
        }
        let longest = &mut self.longest;
        self.open.retain(|key, since| {
            let so_far = longest.entry(*key).or_default();
            *so_far = (*so_far).max(answered - *since);
            now.contains(key)
        });
        for key in now {
            let since = *self.open.entry(key).or_insert(self.last);
            let so_far = self.longest.entry(key).or_default();
            *so_far = (*so_far).max(answered - since);
        }
        self.last = asked;
    }

    /// The strongest lock on each of these tables.
    pub fn strongest<'n>(&self, name: impl Fn(Oid) -> Option<&'n str>) -> Vec<TableLock> {
        let mut tables: BTreeMap<Oid, usize> = BTreeMap::new();
        for (table, held) in self.longest.keys() {
            if let Held::Mode(place) = held {
                let strongest = tables.entry(*table).or_default();
                *strongest = (*strongest).max(*place);
            }
        }
        let longest = |table, held| self.longest.get(&(table, held)).copied().unwrap_or_default();
        let lock = |(table, place): (Oid, usize)| {
            Some(TableLock {
                table: name(table)?.to_owned(),
                strongest: MODES[place].1,
                held_at_most: longest(table, Held::Mode(place)),
                blocked_writes_at_most: longest(table, Held::AgainstWrites),
                blocked_reads_at_most: longest(table, Held::Mode(MODES.len() - 1)),
            })
        };
        let mut found: Vec<_> =
            tables.into_iter().filter_map(|(table, place)| Some((place, lock((table, place))?))).collect();
        found.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.table.cmp(&other.table)));
        found.into_iter().map(|(_, lock)| lock).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lock_counts_from_the_last_look_without_it_to_the_first_one_without_it() {
        let start = Instant::now();
        let mut locks = Locks::new(start);
        locks.add(start + ms(10), start + ms(11), []);
        locks.add(start + ms(20), start + ms(21), [(1, "ShareLock"), (2, "RowShareLock")]);
        locks.add(start + ms(30), start + ms(31), [(1, "AccessExclusiveLock")]);
        locks.add(start + ms(40), start + ms(42), []);
        let name = |table| Some(if table == 1 { "a" } else { "b" });
        let found = locks.strongest(name);
        let lock = |table: &str, strongest, held, writes, reads| TableLock {
            table: table.to_owned(),
            strongest,
            held_at_most: ms(held),
            blocked_writes_at_most: ms(writes),
            blocked_reads_at_most: ms(reads),
        };
        assert_eq!(found, [lock("a", "ACCESS EXCLUSIVE", 22, 32, 22), lock("b", "ROW SHARE", 21, 0, 0)]);
    }

    #[test]
    fn a_lock_that_only_the_last_look_has_seen_counts_to_it() {
        let start = Instant::now();
        let mut locks = Locks::new(start);
        locks.add(start + ms(5), start + ms(6), [(1, "ExclusiveLock")]);
        assert_eq!(locks.strongest(|_| Some("a"))[0].blocked_writes_at_most, ms(6));
        assert!(locks.strongest(|_| None).is_empty());
    }
}
