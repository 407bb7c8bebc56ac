//! What is brought together for a run: a set, a database, and an observer of what happens.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Set;
use super::event::Event;
use super::witness::Witness;
use super::{Migration, Repeatable};
use crate::db::{Connector, Database, Notice, Observer};

/// Brings one database up to date with one set.
pub struct Migrator {
    pub(super) set: Set,
    pub(super) connector: Connector,
    pub(super) observer: Observer<Event>,
    /// Nobody has chosen the set: it may be the wrong one.
    pub(super) refuses_others: bool,
    /// Are shown every run that changes something, in this order.
    pub(super) witnesses: Vec<Arc<dyn Witness>>,
}

impl Migrator {
    /// A migrator for `database`. Cancelling `cancel` stops a run cleanly, in the middle of a statement too; events go
    /// to `observer`.
    pub fn new(
        set: Set,
        database: Database,
        cancel: CancellationToken,
        observer: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        let observer = Observer::new(observer);
        let connector = Connector::new(database, cancel)
            .on_notice(observer.for_part(masking(&set)))
            .on_wait(observer.for_part(Event::Waiting));
        Self { set, connector, observer, refuses_others: false, witnesses: Vec::new() }
    }

    /// Shows every run that changes something to this one, too, before and after.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witnesses.push(witness);
        self
    }

    /// Ends statements that have waited for another session's lock for this long; ten minutes unless set.
    /// [`Self::up`] goes by its own options.
    pub fn wait_at_most(&self, limit: Duration) {
        self.connector.wait_at_most(limit);
    }

    /// The set.
    #[must_use]
    pub fn set(&self) -> &Set {
        &self.set
    }
}

/// Makes an event of a notice, without the values that the environment has put into files of the set.
fn masking(set: &Set) -> impl Fn(Notice) -> Event + Send + Sync + 'static {
    let downs = set.migrations().iter().filter_map(|migration| Some(migration.down()?.0));
    let scripts = set.migrations().iter().map(Migration::up).chain(set.repeatables().iter().map(Repeatable::up));
    let hidden: Vec<_> = scripts.chain(downs).filter_map(|script| script.hidden.clone()).collect();
    move |mut notice| {
        for hidden in &hidden {
            notice.message = hidden.mask(&notice.message);
            notice.detail = notice.detail.map(|detail| hidden.mask(&detail));
            notice.hint = notice.hint.map(|hint| hidden.mask(&hint));
        }
        Event::Notice(notice)
    }
}
