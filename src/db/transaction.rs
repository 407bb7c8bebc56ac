//! Transactions of a session.

use std::future::Future;
use std::sync::atomic::Ordering;

use super::{Connection, Error};

/// Every transaction names its isolation level: the server's default may be another.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

impl Connection {
    /// Begins a transaction. An abandoned one is rolled back first.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn begin(&self) -> Result<Transaction<'_>, Error> {
        if self.in_transaction.load(Ordering::Acquire) {
            self.batch("ROLLBACK").await?;
        }
        self.open_transaction().await?;
        Ok(Transaction { connection: self })
    }

    /// Begins a transaction and runs statements in it, all in one message. An abandoned one is rolled back first.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn begin_with(&self, sql: &str) -> Result<Transaction<'_>, Error> {
        if self.read_only {
            let transaction = self.begin().await?;
            transaction.batch(sql).await?;
            return Ok(transaction);
        }
        if self.in_transaction.load(Ordering::Acquire) {
            self.batch("ROLLBACK").await?;
        }
        self.in_transaction.store(true, Ordering::Release);
        self.batch(&format!("{BEGIN}; {sql}")).await?;
        Ok(Transaction { connection: self })
    }

    /// Lets whoever wants to have a look before a commit.
    async fn probe(&self) {
        if let Some(probe) = &self.probe {
            probe.before_commit().await;
        }
    }

    /// Begins a read-only transaction that sees the database as it is at one moment. An abandoned one is rolled back first.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn begin_snapshot(&self) -> Result<Transaction<'_>, Error> {
        if self.in_transaction.load(Ordering::Acquire) {
            self.batch("ROLLBACK").await?;
        }
        self.open_snapshot().await?;
        Ok(Transaction { connection: self })
    }
}

/// An open transaction of a [`Connection`]. If it is dropped without a commit, it is abandoned: it is rolled back when the
/// session ends, or when the next transaction begins.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Transaction<'c> {
    connection: &'c Connection,
}

impl Transaction<'_> {
    /// Commits. Waits for the answer even when the run is told to stop.
    ///
    /// # Errors
    ///
    /// The server's error. After [`Error::Lost`] it is unknown whether the commit took place.
    pub async fn commit(self) -> Result<(), Error> {
        if self.connection.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.connection.probe().await;
        self.connection.shielded().batch("COMMIT").await?;
        self.connection.after_transaction().await
    }

    /// Runs statements and commits, all in one message. Waits for the answer even when the run is told to stop. After an error,
    /// the transaction is rolled back.
    ///
    /// # Errors
    ///
    /// The server's error. After [`Error::Lost`] it is unknown whether the commit took place.
    pub async fn commit_with(self, sql: &str) -> Result<(), Error> {
        if self.connection.cancel.is_cancelled() {
            self.rollback().await;
            return Err(Error::Interrupted);
        }
        self.connection.probe().await;
        // What is deferred to the commit is checked before it, so that an error leaves a transaction to roll back.
        let ending = format!("SET CONSTRAINTS ALL IMMEDIATE; {sql}; COMMIT");
        if let Err(error) = self.connection.shielded().batch(&ending).await {
            self.rollback().await;
            return Err(error);
        }
        self.connection.after_transaction().await
    }

    /// Rolls back, even after the run was told to stop.
    pub async fn rollback(self) {
        // If the rollback fails, the session is lost, and the server rolls back.
        if self.connection.shielded().batch("ROLLBACK").await.is_ok() {
            let _ = self.connection.after_transaction().await;
        }
    }

    /// Does `work` as another role, if one is given, then returns to the session's role. The search path is fixed meanwhile,
    /// because `"$user"` would mean the other role's schema.
    ///
    /// # Errors
    ///
    /// The server's error. The transaction has then failed, and its rollback also resets the role.
    pub async fn as_role<T>(
        &self,
        role: Option<&str>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        const BEFORE: &str = "
            SELECT pg_catalog.current_setting('role') AS role,
                   (SELECT coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(s.name), ', ' ORDER BY s.at), '')
                    FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s (name, at)) AS path";
        const BECOME: &str = "SELECT pg_catalog.set_config('role', $1, true)";
        let Some(role) = role else { return work.await };
        let before = self.query_one(BEFORE, &[]).await?;
        let (ours, path): (String, String) = (before.get("role"), before.get("path"));
        self.query("SELECT pg_catalog.set_config('search_path', $1, true)", &[&path]).await?;
        self.query(BECOME, &[&role]).await?;
        let done = work.await?;
        self.query(BECOME, &[&ours]).await?;
        Ok(done)
    }
}

impl std::ops::Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
