//! What there is, and what the server has counted, at one moment; and the difference of two such looks.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::db::{Connection, Error};

/// One table or index.
#[derive(Clone, Debug)]
struct Relation {
    name: String,
    /// The table of an index.
    index_of: Option<u32>,
    /// It has rows: a view has none, and those of a sequence are no work.
    is_table: bool,
    file: u32,
    counts: [i64; 5],
}

/// A look at the whole database.
#[derive(Clone, Debug)]
pub(super) struct Look {
    relations: BTreeMap<u32, Relation>,
    wal: i64,
    temp: i64,
}

/// What a step has done to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableWork {
    /// The table, qualified.
    pub table: String,
    /// It was not there before.
    pub created: bool,
    /// It is not there any more. What was done to it before that is not known.
    pub dropped: bool,
    /// It has a new file: all its rows were written anew, or it was emptied by `TRUNCATE`.
    pub rewritten: bool,
    /// Indexes of it that were built or rebuilt, each of which reads the table.
    pub indexes_built: Vec<String>,
    /// How many sequential scans of it were begun, each worker of a parallel one for itself; that of an index build counts.
    pub scans: u64,
    /// Rows that these have read.
    pub rows_read: u64,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
}

/// What lies between two looks.
pub(super) struct Difference {
    pub wal: u64,
    pub temp: u64,
    pub tables: Vec<TableWork>,
}

impl Look {
    pub async fn take(connection: &Connection) -> Result<Self, Error> {
        const SERVER: &str = "
            SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint AS wal,
                   pg_catalog.pg_stat_get_db_temp_bytes(d.oid) AS temp
            FROM pg_catalog.pg_database d
            WHERE d.datname = pg_catalog.current_database()";
        let mut relations = BTreeMap::new();
        let read = |row: &tokio_postgres::Row| {
            let counts = ["scans", "read", "inserted", "updated", "deleted"].map(|column| row.get(column));
            let index_of = if row.get("is_index") { row.get("table") } else { None };
            (
                row.get("id"),
                Relation {
                    name: row.get("name"),
                    index_of,
                    is_table: row.get("is_table"),
                    file: row.get("file"),
                    counts,
                },
            )
        };
        relations.extend(connection.query(include_str!("look.sql"), &[]).await?.iter().map(read));
        let server = connection.query_one(SERVER, &[]).await?;
        Ok(Self { relations, wal: server.get("wal"), temp: server.get("temp") })
    }

    /// The name of a table, view or sequence.
    pub fn table(&self, id: u32) -> Option<&str> {
        self.relations.get(&id).filter(|relation| relation.index_of.is_none()).map(|relation| relation.name.as_str())
    }

    /// What has happened until `after`; tables with which nothing has happened are left out.
    pub fn until(&self, after: &Self) -> Difference {
        let grown = |before: i64, after: i64| u64::try_from(after - before).unwrap_or_default();
        let mut tables = BTreeMap::new();
        for (id, relation) in after.relations.iter().filter(|(_, relation)| relation.is_table) {
            let before = self.relations.get(id);
            let zero = [0; 5];
            let old = before.map_or(&zero, |before| &before.counts);
            let [scans, rows_read, inserted, updated, deleted] =
                std::array::from_fn(|at| grown(old[at], relation.counts[at]));
            let work = TableWork {
                table: relation.name.clone(),
                created: before.is_none(),
                rewritten: before.is_some_and(|before| before.file != relation.file),
                scans,
                rows_read,
                inserted,
                updated,
                deleted,
                ..TableWork::default()
            };
            tables.insert(*id, work);
        }
        for (id, relation) in &after.relations {
            let Some(work) = relation.index_of.and_then(|table| tables.get_mut(&table)) else { continue };
            // Indexes that come with a new or rewritten table are part of that.
            let is_new = self.relations.get(id).is_none_or(|before| before.file != relation.file);
            if is_new && !work.created && !work.rewritten && relation.file != 0 {
                work.indexes_built.push(relation.name.clone());
            }
        }
        let gone = |(id, relation): (&u32, &Relation)| {
            let is_gone = relation.is_table && !after.relations.contains_key(id);
            is_gone.then(|| TableWork { table: relation.name.clone(), dropped: true, ..TableWork::default() })
        };
        let mut tables: Vec<_> = tables.into_values().chain(self.relations.iter().filter_map(gone)).collect();
        tables.retain(|work| *work != TableWork { table: work.table.clone(), ..TableWork::default() });
        tables.sort_by(|one, other| one.table.cmp(&other.table));
        Difference { wal: grown(self.wal, after.wal), temp: grown(self.temp, after.temp), tables }
    }
}
