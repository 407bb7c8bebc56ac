//! Ctrl-C and SIGTERM: the first signal stops the run cleanly, the second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit;

/// How long a clean end may take. It takes a few milliseconds where the server answers.
const PATIENCE: Duration = Duration::from_millis(1700);

/// Listens for signals and passes them on as a cancellation.
pub(super) struct Interrupt {
    token: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Starts listening. If that fails, the run cannot be interrupted cleanly.
    pub fn listen() -> Self {
        let interrupt = Self { token: CancellationToken::new(), code: Arc::new(AtomicU8::new(0)) };
        for (kind, code) in [(SignalKind::interrupt(), exit::SIGINT), (SignalKind::terminate(), exit::SIGTERM)] {
            match signal(kind) {
                Ok(stream) => {
                    tokio::spawn(pass_on(stream, code, interrupt.token.clone(), Arc::clone(&interrupt.code)));
                }
                Err(error) => tracing::warn!("cannot listen for signals: {error}"),
            }
        }
        interrupt
    }

    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Resolves when a signal arrived and the time for a clean end is over.
    pub async fn patience_is_over(&self) {
        self.token.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    }

    /// The exit code of the signal, if one arrived.
    pub fn exit_code(&self) -> Option<u8> {
        Some(self.code.load(Ordering::SeqCst)).filter(|code| *code != 0)
    }
}

async fn pass_on(mut signals: Signal, exit_code: u8, token: CancellationToken, code: Arc<AtomicU8>) {
    while signals.recv().await.is_some() {
        if code.swap(exit_code, Ordering::SeqCst) != 0 {
            // After a second signal, do not wait for the server.
            std::process::exit(exit_code.into());
        }
        token.cancel();
    }
}
