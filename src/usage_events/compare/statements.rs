//! The SQL of a comparison, with the columns of both sides put in.

use crate::export::COLUMNS;
use crate::metrics::{Metric, list};

/// What the parts of an identity are called in the export and in the table, but for its window; batch comes last.
pub(super) const IDENTITY: [(&str, &str); 6] = [
    ("project_id", "project_id"),
    ("user_id", "openai_user_id"),
    ("api_key_id", "openai_api_key_id"),
    ("model", "model"),
    ("service_tier", "service_tier"),
    ("batch", "batch"),
];

/// Whether the table has windows yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// It has.
    WithWindows,
    /// It has not: nothing of the export can be there.
    WithoutWindows,
}

impl Table {
    fn sql(self) -> String {
        let Self::WithoutWindows = self else { return "usage_events".to_owned() };
        let identity = IDENTITY
            .map(|(_, column)| format!("NULL::{} AS {column}", if column == "batch" { "boolean" } else { "text" }));
        let metrics = list(|metric| format!("NULL::bigint AS {}", metric.column));
        format!(
            "(SELECT NULL::timestamptz AS window_start, NULL::timestamptz AS window_end, {}, {metrics} WHERE false)",
            identity.join(", ")
        )
    }
}

/// The parts of an identity, without a difference between empty and missing, under the export's names.
fn identity(alias: &str, of_database: bool) -> String {
    let part = |(export, database): (&str, &str)| {
        let column = if of_database { database } else { export };
        match export {
            "batch" => format!("coalesce({alias}.{column}::int, -1) AS {export}"),
            _ => format!("coalesce({alias}.{column}, '') AS {export}"),
        }
    };
    IDENTITY.map(part).join(", ")
}

pub(super) fn columns(not_null: &str) -> String {
    COLUMNS
        .map(|(name, kind)| {
            let not_null = if name.starts_with("window") { not_null } else { "" };
            format!("{name} {kind}{not_null}")
        })
        .join(", ")
}

pub(super) fn objects() -> String {
    let metrics = list(|metric| format!("{} bigint NOT NULL", metric.name));
    include_str!("objects.sql").replace("{columns}", &columns("")).replace("{metrics}", &metrics)
}

pub(super) fn copy() -> String {
    let columns = COLUMNS.map(|(name, _)| name).join(", ");
    format!("COPY pg_temp.usage_export ({columns}, {}) FROM STDIN", list(|metric| metric.name.to_owned()))
}

/// Whether rows of one identity are to be added up, on each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub export: bool,
    pub database: bool,
}

/// Whether one side, the table or the export, has several rows of one identity.
pub(super) fn repeated(table: Option<Table>) -> String {
    include_str!("repeated.sql").replace("{identity}", &identity("s", table.is_some())).replace("{side}", &side(table))
}

pub(super) fn differences(table: Table, repeated: Repeated) -> String {
    const GROUPED: &str = "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";
    let number = |is_repeated: bool, number: String| {
        if is_repeated { format!("pg_temp.usage_sum({number})") } else { number }
    };
    let of_export = |m: &Metric| format!("{} AS {}", number(repeated.export, format!("x.{}", m.name)), m.name);
    let of_database =
        |m: &Metric| format!("{} AS {}", number(repeated.database, format!("coalesce(e.{}, 0)", m.column)), m.name);
    include_str!("differences.sql")
        .replace("{identity_of_export}", &identity("x", false))
        .replace("{identity_of_database}", &identity("e", true))
        .replace("{numbers_of_export}", &list(of_export))
        .replace("{numbers_of_database}", &list(of_database))
        .replace("{grouped_export}", if repeated.export { GROUPED } else { "" })
        .replace("{grouped_database}", if repeated.database { GROUPED } else { "" })
        .replace("{of_export}", &list(|m| format!("x.{}", m.name)))
        .replace("{of_database}", &list(|m| format!("r.{}", m.name)))
        .replace("{database}", &table.sql())
}

pub(super) fn days(table: Table) -> String {
    include_str!("days.sql")
        .replace("{sums_of_export}", &list(|m| format!("pg_temp.usage_sum({})", m.name)))
        .replace("{sums_of_database}", &list(|m| format!("pg_temp.usage_sum(coalesce(e.{}, 0))", m.column)))
        .replace("{database}", &table.sql())
}

/// The window of one side that does not fit.
pub(super) fn overflow(table: Option<Table>) -> String {
    let sums = list(|m| format!("pg_catalog.sum(s.{})", if table.is_some() { m.column } else { m.name }));
    include_str!("overflow.sql")
        .replace("{identity}", &identity("s", table.is_some()))
        .replace("{sums}", &sums)
        .replace("{side}", &side(table))
}

fn side(table: Option<Table>) -> String {
    table.map_or_else(|| "pg_temp.usage_export".to_owned(), Table::sql)
}
