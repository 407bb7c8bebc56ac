//! The export on its way into the temporary table.

use super::error::CompareError;
use super::statements;
use crate::db::{Connection, Observer};
use crate::export::Export;

/// How far the reading of an export is.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Reading {
    /// Bytes of the files that have been read.
    pub bytes: u64,
    /// Rows that were found in them.
    pub rows: u64,
}

/// Reads the whole export into a temporary table of this session.
///
/// # Errors
///
/// [`CompareError`]: what cannot be read of it, or the server's error.
pub async fn load(
    connection: &Connection,
    export: &mut Export,
    observer: &Observer<Reading>,
) -> Result<(), CompareError> {
    connection.batch(&statements::objects()).await?;
    let mut next = || {
        let chunk = export.chunk();
        observer.tell(Reading { bytes: export.bytes_read(), rows: export.rows });
        chunk
    };
    connection.copy_in(&statements::copy(), &mut next).await??;
    connection.batch("ANALYZE pg_temp.usage_export").await?;
    Ok(())
}
