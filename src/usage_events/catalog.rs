//! What the set consists of.

use crate::cli::{Check, Content, Verb};
use crate::engine::{Set, SetError, Version};
use crate::import::inserts;
use crate::repair::Repairs;
use crate::verbs::{ImportUsage, VerifyUsage};

/// The name of the set.
pub const USAGE_EVENTS: &str = "usage-events";

/// The set, with everything that belongs to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageEvents;

impl Content for UsageEvents {
    fn name(&self) -> &'static str {
        USAGE_EVENTS
    }

    fn set(&self) -> Result<Set, SetError> {
        usage_events()
    }

    /// No repair of its own, but runs of imports can be listed and undone.
    fn repairs(&self) -> Repairs {
        Repairs::new().with_inserts(inserts())
    }

    fn verbs(&self) -> Vec<Box<dyn Verb>> {
        vec![Box::new(ImportUsage)]
    }

    fn made_up_rows(&self, version: Version) -> Option<&'static str> {
        (version > Version::NONE).then_some(include_str!("made_up.sql"))
    }

    fn checks(&self) -> Vec<Box<dyn Check>> {
        vec![Box::new(VerifyUsage)]
    }
}

/// The table of usage, its windows, and the way back. Needs PostgreSQL 15 for `NULLS NOT DISTINCT`.
///
/// # Errors
///
/// [`SetError`] if its files contradict each other.
pub fn usage_events() -> Result<Set, SetError> {
    let files = crate::engine::embed!("$CARGO_MANIFEST_DIR/../../migrations/usage_events");
    Set::from_embedded(USAGE_EVENTS, &files)?
        // Its files are part of the program.
        .with_origin(|origin| origin.folder = None)
        .minimum_server(15)
        .owned_like("usage_events")
        .described_by(include_str!("../../migrations/usage_events.objects"))
        .build()
}
