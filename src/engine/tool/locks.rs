//! The advisory locks that tools hold while they migrate.

use std::borrow::Cow;

use migrate_layout::crc32;

use super::tables::{Tool, ToolTable};
use crate::db::LockKey;

/// The locks that the tool holds on this database while it migrates; to be taken along, so that it does not start beside this
/// program. dbmate, refinery, Diesel, Drizzle, Supabase take none, and neither does sqlx's own command line, only programs
/// that migrate through sqlx when they start.
#[must_use]
pub fn locks(table: &ToolTable, database: &str) -> Vec<LockKey> {
    let keys: Vec<i64> = match table.tool {
        Tool::Sqlx => vec![0x3d32_ad9e_i64.wrapping_mul(crc32(database.as_bytes()).into())],
        // Opened by URL, it takes the database's name with the slash before it; as a library, as it is.
        Tool::GolangMigrate => {
            [format!("/{database}"), database.to_owned()].iter().map(|name| golang_migrate(table, name)).collect()
        }
        Tool::UpDown => vec![7_244_554_146_635_925_501],
        Tool::Goose => vec![4_097_083_626],
        // Its number for locks, and the hash of the table's name as Java makes it.
        Tool::Flyway => vec![77_431_708_279_161 + i64::from(java_hash(&flyway_name(table)))],
        Tool::Prisma => vec![72_707_369],
        Tool::Rails => vec![2_053_462_845_i64.wrapping_mul(crc32(database.as_bytes()).into())],
        Tool::Atlas => vec![2_686_470_616],
        Tool::Dbmate
        | Tool::Refinery
        | Tool::Diesel
        | Tool::Drizzle
        | Tool::DrizzleFolders
        | Tool::Supabase
        | Tool::Ecto => Vec::new(),
    };
    let what: Cow<'static, str> = format!("the lock of {}", table.tool.name()).into();
    keys.into_iter().map(|key| LockKey { key, second: None, what: what.clone() }).collect()
}

/// golang-migrate's key: a sum over the names, made unlike that of other programs by a factor.
fn golang_migrate(table: &ToolTable, database: &str) -> i64 {
    let sum = crc32([table.schema.as_str(), &table.table, database].join("\0").as_bytes());
    sum.wrapping_mul(1_486_364_155).into()
}

/// Each name in quotes, a dot between them.
fn flyway_name(table: &ToolTable) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", quoted(&table.schema), quoted(&table.table))
}

/// `String.hashCode`: over UTF-16, with wrap-around.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tool: Tool, database: &str) -> Vec<i64> {
        let table = ToolTable::planned(tool, "public", None, false);
        locks(&table, database).into_iter().map(|lock| lock.key).collect()
    }

    #[test]
    fn keys_are_those_of_the_tools() {
        assert_eq!(keys(Tool::Sqlx, "app"), [3_469_795_979_745_788_610]);
        assert_eq!(keys(Tool::GolangMigrate, "app"), [1_726_534_663, 1_787_120_056]);
        assert_eq!(keys(Tool::Rails, "app"), [6_939_591_962_871_035_475]);
        assert_eq!(keys(Tool::Flyway, "app"), [77_433_833_903_597]);
        assert_eq!(keys(Tool::UpDown, "app"), [7_244_554_146_635_925_501]);
        for tool in [Tool::Dbmate, Tool::Refinery, Tool::Diesel, Tool::Drizzle, Tool::DrizzleFolders, Tool::Supabase] {
            assert!(keys(tool, "app").is_empty(), "{tool}");
        }
    }

    #[test]
    fn a_hash_wraps_as_in_java() {
        assert_eq!((java_hash(""), java_hash("a"), java_hash("hello world")), (0, 97, 1_794_106_052));
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn whoever_waits_is_told_for_what() {
        let table = ToolTable::planned(Tool::Prisma, "public", None, false);
        assert_eq!(locks(&table, "app")[0].what, "the lock of Prisma");
    }
}
