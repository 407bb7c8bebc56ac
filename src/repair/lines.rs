//! Rows by owner and day: as many lines as fit on a page, and the sum of the others.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::Row;

use crate::db;

/// The rows of one owner on one UTC day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The owner; none if it is unknown, or if the repair does not distinguish owners.
    pub owner: Option<String>,
    /// The UTC day they belong to, as the server writes it.
    pub day: String,
    /// Their number and sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// The time of the first of them, in RFC 3339.
    pub first: String,
    /// The time of the last of them.
    pub last: String,
}

impl Line {
    /// From a row of a look.
    pub(super) fn from_row(row: &Row, totals: Totals) -> Result<Self, db::Error> {
        Ok(Self {
            owner: row.try_get("owner")?,
            day: row.try_get("day")?,
            totals,
            first: row.try_get("first")?,
            last: row.try_get("last")?,
        })
    }
}

/// The number and sums of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many rows.
    pub rows: u64,
    /// The sum before.
    pub before: i128,
    /// The sum after.
    pub after: i128,
    /// Rows that meet the counted condition.
    pub counted: u64,
}

impl Totals {
    /// From the columns `rows`, `before`, `after` and `counted`.
    pub(super) fn from_row(row: &Row) -> Result<Self, db::Error> {
        let count = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs);
        // The server writes sums as text: they may be larger than 64 bits.
        let sum = |name: &str| row.try_get::<_, &str>(name).map(|text| text.parse().unwrap_or_default());
        Ok(Self { rows: count("rows")?, before: sum("before")?, after: sum("after")?, counted: count("counted")? })
    }

    /// The difference between before and after.
    #[must_use]
    pub fn removed(&self) -> i128 {
        self.before - self.after
    }

    /// Adds other rows.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.before += other.before;
        self.after += other.after;
        self.counted += other.counted;
    }
}

/// How many lines a finding keeps. The others are summed up; `OnLine` gets each of them while it is read.
const MOST_LINES: usize = 5000;

/// How many owners a finding keeps.
const MOST_OWNERS: usize = 100;

/// How many lines it keeps for one owner.
const MOST_DAYS: usize = 400;

/// Rows by owner and day, as many lines as fit on a page: those of the owners with the most rows.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// The owners, in their order.
    pub owners: Vec<Owned>,
    /// How many more owners there are.
    pub more_owners: u64,
    /// The totals of those.
    pub more: Totals,
    /// All rows by day, or by month or year if there are too many days.
    pub periods: Periods,
}

/// The rows of one owner.
#[derive(Clone, Debug)]
pub struct Owned {
    /// The owner.
    pub owner: Option<String>,
    /// The totals of all its rows.
    pub totals: Totals,
    /// Its first days.
    pub lines: Vec<Line>,
    /// How many more days it has.
    pub more_days: u64,
}

impl Lines {
    /// Adds a line. Lines arrive sorted by owner.
    pub(super) fn add(&mut self, line: Line) {
        self.periods.add(&line);
        if self.owners.last().is_none_or(|last| last.owner != line.owner) {
            self.make_room();
            let owner = line.owner.clone();
            self.owners.push(Owned { owner, totals: Totals::default(), lines: Vec::new(), more_days: 0 });
        }
        let Some(owned) = self.owners.last_mut() else { return };
        owned.totals.add(&line.totals);
        if owned.lines.len() < MOST_DAYS {
            owned.lines.push(line);
        } else {
            owned.more_days += 1;
        }
    }

    /// Removes the owners with the fewest rows until another owner fits.
    fn make_room(&mut self) {
        let kept = |owners: &[Owned]| owners.iter().map(|owned| owned.lines.len()).sum::<usize>();
        while self.owners.len() >= MOST_OWNERS || kept(&self.owners) + MOST_DAYS > MOST_LINES {
            let least = self.owners.iter().enumerate().min_by_key(|(_, owned)| owned.totals.rows).map(|(at, _)| at);
            let Some(least) = least else { return };
            let Owned { totals, .. } = self.owners.remove(least);
            self.more_owners += 1;
            self.more.add(&totals);
        }
    }
}

/// The unit of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// A UTC day.
    #[default]
    Day,
    /// A UTC month.
    Month,
    /// A year.
    Year,
}

/// Rows by day, or by longer periods where there are many days.
#[derive(Clone, Debug, Default)]
pub struct Periods {
    /// The unit of each period.
    pub unit: Period,
    /// The totals of each period, by its name.
    pub totals: BTreeMap<String, Totals>,
}

impl Periods {
    fn add(&mut self, line: &Line) {
        loop {
            let name = self.name(&line.day);
            if self.totals.len() < MOST_DAYS || self.totals.contains_key(name) {
                self.totals.entry(name.to_owned()).or_default().add(&line.totals);
                return;
            }
            self.unit = match self.unit {
                Period::Day => Period::Month,
                Period::Month => Period::Year,
                Period::Year => {
                    self.totals.entry("other years".to_owned()).or_default().add(&line.totals);
                    return;
                }
            };
            for (name, totals) in std::mem::take(&mut self.totals) {
                self.totals.entry(self.name(&name).to_owned()).or_default().add(&totals);
            }
        }
    }

    /// The name of the period that contains `day`, which may be only a month.
    fn name<'a>(&self, day: &'a str) -> &'a str {
        let mut parts = day.match_indices('-').map(|(at, _)| &day[..at]);
        let [year, month] = [parts.next(), parts.next()];
        match self.unit {
            Period::Day => day,
            Period::Month => month.unwrap_or(day),
            Period::Year => year.unwrap_or(day),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(owner: u32, day: &str, rows: u64) -> Line {
        let totals = Totals { rows, before: 2 * i128::from(rows), after: i128::from(rows), counted: 0 };
        let [owner, day] = [format!("{owner:05}"), day.to_owned()];
        Line { owner: Some(owner), day: day.clone(), totals, first: day.clone(), last: day }
    }

    #[test]
    fn the_owners_who_have_most_are_kept_and_the_others_are_summed_up() {
        let mut lines = Lines::default();
        let mut all = 0;
        for owner in 0..3000 {
            for day in 1..=10 {
                let rows = u64::from(owner % 1000 + 1);
                all += rows;
                lines.add(line(owner, &format!("2026-01-{day:02}"), rows));
            }
        }
        let kept: usize = lines.owners.iter().map(|owned| owned.lines.len()).sum();
        assert!(kept <= MOST_LINES && lines.more_owners + lines.owners.len() as u64 == 3000);
        let shown: u64 = lines.owners.iter().map(|owned| owned.totals.rows).sum();
        assert_eq!(shown + lines.more.rows, all);
        assert!(lines.owners.iter().rev().skip(1).all(|owned| owned.totals.rows > 8000), "those who have most");
        assert!(lines.owners.is_sorted_by_key(|owned| &owned.owner));
        let days: u64 = lines.periods.totals.values().map(|totals| totals.rows).sum();
        assert!(lines.periods.unit == Period::Day && days == all);
    }

    #[test]
    fn many_days_become_months_and_years_and_no_more() {
        let mut lines = Lines::default();
        for year in 1000..2000 {
            for day in ["01-01", "01-02", "02-01"] {
                lines.add(line(1, &format!("{year}-{day}"), 1));
            }
        }
        let periods = &lines.periods;
        assert_eq!((periods.unit, periods.totals.len()), (Period::Year, MOST_DAYS + 1));
        assert_eq!(periods.totals.values().map(|totals| totals.rows).sum::<u64>(), 3000);
        assert_eq!((lines.owners[0].lines.len(), lines.owners[0].more_days), (MOST_DAYS, 3000 - MOST_DAYS as u64));
    }
}
