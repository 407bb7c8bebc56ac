//! The callback type for events.

use std::sync::Arc;

/// Receives events. Clones share one listener.
pub struct Observer<E>(Arc<dyn Fn(E) + Send + Sync>);

impl<E> Clone for Observer<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: 'static> Observer<E> {
    /// Calls `listener` with each event.
    pub fn new(listener: impl Fn(E) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Ignores every event.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Tells the listener that `event` happened.
    pub fn tell(&self, event: E) {
        (self.0)(event);
    }

    /// An observer for a narrower type of events, such as the notices among all events of a run.
    #[must_use]
    pub fn for_part<F: 'static>(&self, whole: impl Fn(F) -> E + Send + Sync + 'static) -> Observer<F> {
        let listener = self.clone();
        Observer::new(move |part| listener.tell(whole(part)))
    }
}
