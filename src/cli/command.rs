//! One call of a command: what it is, and running it on its set and database, with evidence where that is asked for.

use std::path::Path;
use std::sync::Arc;

use clap::{ArgMatches, Args as _, FromArgMatches};

use super::call::Call;
use super::evidence::{Around, Evidence, EvidenceFlag};
use super::failure::Failure;
use super::product::{Content, Context, Verb};
use super::rehearse::{Approved, Rehearse};
use super::{down, exit, repair_verb, snapshot, status, up, url, verify};
use crate::db::{Connector, Database, Observer};
use crate::engine::{Event, Migrator, Witness};
use crate::repair::Repairer;

/// What to do.
pub(super) enum Command<'a> {
    Up(up::Up),
    Down(down::Down),
    Rehearse(Box<Rehearse>),
    Status(status::Status),
    Snapshot(snapshot::Snapshot),
    Verify(verify::Verify),
    Repair(repair_verb::Repair),
    /// A command that the set adds.
    Own(Box<dyn Verb>, &'a ArgMatches),
}

impl<'a> Command<'a> {
    pub fn read(content: &dyn Content, matches: &'a ArgMatches) -> Result<Self, Failure> {
        let usage = |error: clap::Error| Failure::usage(error.to_string());
        Ok(match matches.subcommand() {
            Some(("up", matches)) => Self::Up(up::Up::from_arg_matches(matches).map_err(usage)?),
            Some(("down", matches)) => Self::Down(down::Down::from_arg_matches(matches).map_err(usage)?),
            Some(("rehearse", matches)) => {
                Self::Rehearse(Box::new(Rehearse::from_arg_matches(matches).map_err(usage)?))
            }
            Some(("status", matches)) => Self::Status(status::Status::from_arg_matches(matches).map_err(usage)?),
            Some(("snapshot", matches)) => {
                Self::Snapshot(snapshot::Snapshot::from_arg_matches(matches).map_err(usage)?)
            }
            Some(("verify", matches)) => Self::Verify(verify::Verify::new(matches)),
            Some(("repair", matches)) => Self::Repair(repair_verb::Repair::read(matches).map_err(usage)?),
            Some((name, matches)) => match content.verbs().into_iter().find(|verb| verb.command().get_name() == name) {
                Some(verb) => Self::Own(verb, matches),
                None => return Err(Failure::usage(format!("set {} has no command {name}", content.name()))),
            },
            None => return Err(Failure::usage("no command given")),
        })
    }

    /// Whether the command only shows something. It then fails if its output is lost.
    pub fn only_shows(&self) -> bool {
        match self {
            Self::Up(up) => up.only_shows(),
            Self::Down(down) => down.only_shows(),
            Self::Status(_) | Self::Verify(_) | Self::Rehearse(_) => true,
            Self::Snapshot(snapshot) => snapshot.only_shows(),
            Self::Repair(repair) => repair.only_shows(),
            Self::Own(verb, matches) => verb.only_shows(matches),
        }
    }

    /// The folder for the evidence of what it does.
    fn evidence(&self) -> Result<Option<&Path>, Failure> {
        let folder = match self {
            Self::Up(up) => up.evidence.folder(),
            Self::Down(down) => down.evidence.folder(),
            Self::Repair(repair) => repair.evidence().and_then(EvidenceFlag::folder),
            Self::Own(verb, matches) if verb.keeps_evidence() => EvidenceFlag::among(matches),
            Self::Rehearse(_) | Self::Status(_) | Self::Snapshot(_) | Self::Verify(_) | Self::Own(..) => None,
        };
        if folder.is_some() && self.only_shows() {
            let hint = "leave --dry-run away, or add --execute; what is only shown leaves nothing that needs evidence";
            return Err(Failure::usage("--evidence is for a run that does something").hint(hint));
        }
        Ok(folder)
    }
}

/// The arguments of a set's command.
pub(super) fn command_of(verb: &dyn Verb) -> clap::Command {
    if verb.keeps_evidence() { EvidenceFlag::augment_args(verb.command()) } else { verb.command() }
}

impl Call<'_> {
    /// Runs a command and keeps the evidence of it, if that is asked for.
    pub async fn run(&self, command: &Command<'_>) -> Result<u8, Failure> {
        if let Command::Repair(repair_verb::Repair::List) = command {
            repair_verb::list(&self.content.repairs(), self.screen);
            return Ok(exit::OK);
        }
        if let Command::Rehearse(rehearse) = command {
            return Box::pin(rehearse.run(self)).await;
        }
        let database = url::database(self.database_url)?;
        let approved = match command {
            Command::Up(up) => {
                up.approved.as_deref().map(|file| Approved::read(file, self.screen)).transpose()?.map(Arc::new)
            }
            _ => None,
        };
        let mut witnesses: Vec<_> = approved.iter().map(|approved| Arc::clone(approved) as Arc<dyn Witness>).collect();
        let Some(folder) = command.evidence()? else {
            return Box::pin(self.perform(command, database, witnesses)).await;
        };
        let approval = approved.map(|approved| approved.approval());
        let evidence = Evidence::begin(folder, self.version, self.content.name(), &database, self.screen, approval)?;
        let evidence = Arc::new(evidence);
        // What is asked of the database for the evidence is nothing that the screen should tell.
        let connector = Connector::new(database.clone(), self.interrupt.token().clone());
        connector.wait_at_most(self.lock_wait);
        let set = match self.content.set_for(&connector).await {
            Ok(set) => set,
            Err(failure) => {
                evidence.discard();
                return Err(failure);
            }
        };
        // What is refused leaves no evidence, so it comes behind.
        witnesses.push(Arc::clone(&evidence) as Arc<dyn Witness>);
        let result = Box::pin(self.perform(command, database.clone(), witnesses)).await;
        let result = result.map_err(|failure| self.explained(failure));
        let migrator = Migrator::new(set, database, self.interrupt.token().clone(), |_| {});
        migrator.wait_at_most(self.lock_wait);
        let around = Around {
            content: self.content,
            unchosen: self.unchosen,
            connector: &connector,
            migrator: &migrator,
            program: self.screen.program(),
            lock_wait: self.lock_wait,
        };
        Box::pin(evidence.finish(result, &around)).await
    }

    async fn perform(
        &self,
        command: &Command<'_>,
        database: Database,
        witnesses: Vec<Arc<dyn Witness>>,
    ) -> Result<u8, Failure> {
        let Self { content, unchosen, screen, lock_wait, interrupt, .. } = *self;
        let token = || interrupt.token().clone();
        if let Command::Repair(command) = command {
            let events = Arc::clone(screen);
            let observer = move |event| events.repair_event(event);
            let mut repairer = Repairer::new(content.name(), content.repairs(), database, token(), observer);
            for witness in witnesses {
                repairer = repairer.witnessed_by(witness);
            }
            repairer.wait_at_most(lock_wait);
            return Box::pin(command.run(&repairer, screen, lock_wait)).await;
        }
        let events = Arc::clone(screen);
        let around = unchosen.clone();
        let observer = Observer::new(move |event| {
            around.event(&event, &events);
            events.event(event);
        });
        let connector = Connector::new(database.clone(), token())
            .on_notice(observer.for_part(Event::Notice))
            .on_wait(observer.for_part(Event::Waiting));
        let set = content.set_for(&connector).await?;
        let mut migrator = Migrator::new(set, database, token(), move |event| observer.tell(event));
        for witness in &witnesses {
            migrator = migrator.witnessed_by(Arc::clone(witness));
        }
        if unchosen.is_doubtful {
            migrator = migrator.refuse_others();
        }
        connector.wait_at_most(lock_wait);
        migrator.wait_at_most(lock_wait);
        let cx = Context {
            unchosen,
            connector: &connector,
            migrator: &migrator,
            screen: Arc::clone(screen),
            lock_wait,
            witnesses: &witnesses,
        };
        match command {
            Command::Up(command) => command.run(content, &cx).await,
            Command::Down(command) => command.run(&cx).await,
            Command::Status(command) => command.run(&cx).await,
            Command::Snapshot(command) => command.run(&cx).await,
            Command::Verify(command) => command.run(content.checks(), &cx).await,
            Command::Own(verb, matches) => verb.run(matches, &cx).await,
            Command::Repair(_) | Command::Rehearse(_) => Ok(exit::OK),
        }
    }
}
