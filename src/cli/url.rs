//! Which database is meant: flag before environment.

use std::ffi::OsString;

use super::failure::Failure;
use crate::db::Database;
use crate::engine::Error;

/// The requested database. There is no default: a job must not run on the wrong database.
pub(super) fn database(flag: Option<&OsString>) -> Result<Database, Failure> {
    database_if_given(flag)?.ok_or_else(|| {
        Failure::usage("no database given").hint("set DATABASE_URL or MIGRATE_DATABASE_URL, or pass --database-url")
    })
}

/// The requested database, for a command that can do without.
pub(super) fn database_if_given(flag: Option<&OsString>) -> Result<Option<Database>, Failure> {
    let flag = flag.cloned().map(|url| ("--database-url", url));
    let given = flag.or_else(|| {
        ["MIGRATE_DATABASE_URL", "DATABASE_URL"]
            .into_iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
            .find(|(_, value)| !value.to_string_lossy().trim().is_empty())
    });
    let Some((source, url)) = given else { return Ok(None) };
    match url.to_str() {
        Some(url) => Database::from_url(url).map(Some).map_err(|error| Failure::from(Error::from(error))),
        None => Err(Failure::usage(format!("the database URL cannot be used: the value of {source} is not UTF-8"))
            .hint("write each byte that is not ASCII as % and two hexadecimal digits")),
    }
}
