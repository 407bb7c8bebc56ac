//! Data that the client sends: `COPY ... FROM STDIN`.

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use futures_sink::Sink as _;

use super::{Connection, Error};

impl Connection {
    /// Runs `COPY ... FROM STDIN`, and sends what `next` gives until that is nothing. An error of `next` fails the statement, and
    /// is returned as it is.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub async fn copy_in<E>(
        &self,
        sql: &str,
        next: &mut (dyn FnMut() -> Result<Option<Vec<u8>>, E> + Send),
    ) -> Result<Result<u64, E>, Error> {
        self.interruptible(async {
            let mut sink = pin!(self.client.copy_in::<_, Bytes>(sql).await?);
            loop {
                match next() {
                    Ok(Some(rows)) => {
                        poll_fn(|cx| sink.as_mut().poll_ready(cx)).await?;
                        sink.as_mut().start_send(rows.into())?;
                        // Between two of them, it can be told to stop.
                        tokio::task::yield_now().await;
                    }
                    Ok(None) => return sink.finish().await.map(Ok),
                    // Unfinished, it fails.
                    Err(error) => return Ok(Err(error)),
                }
            }
        })
        .await
    }
}
