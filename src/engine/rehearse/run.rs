//! Running a rehearsal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gauge::Gauge;
use super::measured::{Part, Passed, Rehearsal, WayBack};
use crate::db::{Connection, Probe, ServerFacts};
use crate::event::Event;
use crate::{DownOptions, Error, Intent, Migrator, Snapshot, UpOptions, Version, Witness};

/// The first major version in which a session can be told to hand in what it has counted.
const OLDEST: i32 = 15;

/// How long a statement of the way back may wait for a lock: nobody else is at work on a copy.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// What a rehearsal is run with.
struct Stage {
    migrator: Migrator,
    gauge: Arc<Gauge>,
    /// Takes the schema.
    connection: Connection,
}

impl Migrator {
    /// Applies what is pending, takes it back and applies it again, and measures all of it. The database must be a copy that
    /// nobody else uses: it is changed, data that the way back drops is lost, and what others do is measured, too.
    ///
    /// None, if nothing is pending.
    ///
    /// # Errors
    ///
    /// [`Error`], if the rehearsal itself cannot be made. What fails in a part of it is in the result.
    pub async fn rehearse(&self, options: &UpOptions) -> Result<Option<Rehearsal>, Error> {
        self.wait_at_most(options.lock_wait);
        let connection = self.connector.clone().read_only().connect("migrate: rehearsal").await?;
        let facts = ServerFacts::read(&connection).await?;
        if facts.major() < OLDEST {
            return Err(Error::ServerTooOld { version: facts.version, minimum: OLDEST });
        }
        let gauge = Arc::new(Gauge::open(&self.connector).await?);
        let migrator = Self {
            set: self.set.clone(),
            connector: self.connector.clone().probed_by(Arc::clone(&gauge) as Arc<dyn Probe>),
            observer: self.observer.clone(),
            refuses_others: self.refuses_others,
            witnesses: vec![Arc::clone(&gauge) as Arc<dyn Witness>],
        };
        Stage { migrator, gauge, connection }.play(options).await
    }
}

impl Stage {
    async fn play(&self, options: &UpOptions) -> Result<Option<Rehearsal>, Error> {
        let before = Snapshot::take(&self.connection).await?;
        let (intent, up) = self.up(Part::Up, options).await?;
        let Some(intent) = intent else {
            return match up.error {
                Some(error) => Err(error),
                None => Ok(None),
            };
        };
        let mut found = Rehearsal { intent, before, up, back: WayBack::NotReached, again: None, others: false };
        if found.up.error.is_some() {
            found.others = self.gauge.has_seen_others().await?;
            return Ok(Some(found));
        }
        found.back = self.back(&found.intent).await?;
        if matches!(&found.back, WayBack::Run(back) if back.error.is_none()) {
            // What it began with is recorded now.
            let options = UpOptions { baseline: None, ..options.clone() };
            found.again = Some(self.up(Part::Again, &options).await?.1);
        }
        found.others = self.gauge.has_seen_others().await?;
        Ok(Some(found))
    }

    async fn up(&self, part: Part, options: &UpOptions) -> Result<(Option<Intent>, Passed), Error> {
        self.run(part, Box::pin(async { self.migrator.up(options).await.map(drop) })).await
    }

    /// Takes back what was applied, if all of it can be.
    async fn back(&self, intent: &Intent) -> Result<WayBack, Error> {
        let set = self.migrator.set();
        let without = intent.versions.iter().filter_map(|version| {
            let migration = set.migration(*version)?;
            migration.down().is_none().then(|| format!("{}, {}", version.label(), migration.name()))
        });
        let without: Vec<String> = without.collect();
        if intent.versions.is_empty() || !without.is_empty() {
            return Ok(WayBack::Missing(without));
        }
        let to = Some(intent.from.unwrap_or(Version::NONE));
        let options = DownOptions { to, steps: 1, lose_data: false, lock_wait: LOCK_WAIT };
        // Where nothing is lost, the way back makes sure of that, which costs something, too.
        let loses = match self.migrator.preview_down(&options).await {
            Ok(plan) => plan.check_losses(&options).is_err(),
            Err(_) => false,
        };
        let options = DownOptions { lose_data: loses, ..options };
        let (_, back) = self.run(Part::Back, Box::pin(async { self.migrator.down(&options).await.map(drop) })).await?;
        Ok(WayBack::Run(back))
    }

    /// Runs one part, with an eye on the locks.
    async fn run(
        &self,
        part: Part,
        work: impl Future<Output = Result<(), Error>> + Unpin,
    ) -> Result<(Option<Intent>, Passed), Error> {
        self.migrator.observer.tell(Event::Rehearsing { part });
        let started = Instant::now();
        let done = tokio::select! {
            done = work => done,
            never = self.gauge.watch() => never,
        };
        let duration = started.elapsed();
        if let Err(Error::Interrupted) = done {
            return Err(Error::Interrupted);
        }
        let (intent, steps) = self.gauge.take().await?;
        let schema = match &done {
            Ok(()) => Some(Snapshot::take(&self.connection).await?),
            Err(_) => None,
        };
        Ok((intent, Passed { steps, duration, schema, error: done.err() }))
    }
}
