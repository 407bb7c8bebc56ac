//! The rights that a repair needs. They are checked before anything is written.

use super::RepairError;
use super::derived::Derived;
use super::rows::Rows;
use crate::db::{self, Connection, Purpose};

/// The tables of the journal.
const JOURNAL: [&str; 2] = ["migrate.repair_run", "migrate.repair_change"];

/// Checks that no code of another role runs when history and journal are written.
pub(super) async fn may_write_history(connection: &Connection) -> Result<(), db::Error> {
    db::refuse_superuser(connection, &JOURNAL, &[], Purpose::Write).await?;
    db::check_history(connection).await
}

/// The owner of the table, if it is another role that this session may become. Triggers on the table then run with the
/// rights of that owner. A superuser is refused: the triggers could use its session.
pub(super) async fn owner(
    connection: &Connection,
    table: &str,
    derived: Option<&dyn Derived>,
) -> Result<Option<String>, RepairError> {
    let tables = [&[table][..], derived.map_or(&[][..], Derived::writes)].concat();
    db::refuse_superuser(connection, &tables, derived.map_or(&[], Derived::calls), Purpose::Write).await?;
    Ok(db::acting_role(connection, table).await?)
}

/// Checks the rights on the rows and on the data computed from them, before the first change: a missing right must not
/// stop a run in the middle.
pub(super) async fn may_change(connection: &Connection, rows: &Rows, role: Option<&str>) -> Result<(), RepairError> {
    let mut needed = vec![(rows.table, "SELECT, UPDATE")];
    needed.extend(rows.derived.map_or(&[][..], Derived::privileges));
    may(connection, needed, role).await
}

/// Checks that the role has these rights, each on its table.
pub(super) async fn may(
    connection: &Connection,
    needed: Vec<(&str, &str)>,
    role: Option<&str>,
) -> Result<(), RepairError> {
    const MAY: &str = "
        SELECT t.name, coalesce($1, current_user::pg_catalog.text) AS role, pg_catalog.string_agg(p.name, ', ') AS missing
        FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]))
            AS t (name, privileges)
        CROSS JOIN LATERAL pg_catalog.string_to_table(t.privileges, ', ') AS p (name)
        WHERE pg_catalog.to_regclass(t.name) IS NOT NULL
          AND NOT pg_catalog.has_table_privilege(
              coalesce($1, current_user::pg_catalog.text)::pg_catalog.name, pg_catalog.to_regclass(t.name)::oid, p.name)
        GROUP BY t.name
        ORDER BY t.name
        LIMIT 1";
    let (tables, privileges): (Vec<&str>, Vec<&str>) = needed.into_iter().unzip();
    let Some(row) = connection.query_opt(MAY, &[&role, &tables, &privileges]).await? else { return Ok(()) };
    let [table, role, missing]: [String; 3] = ["name", "role", "missing"].map(|name| row.get(name));
    Err(RepairError::refused_with_hint(
        format!("role {role} has no right to {missing} on table {table}"),
        "connect as the role that owns these tables, or as a member of it: GRANT <owner> TO <role>",
    ))
}
