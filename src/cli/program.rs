//! The command line: arguments in, events and results out, an exit code at the end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};

use super::beside::Unchosen;
use super::choice::{self, Choice};
use super::failure::Failure;
use super::folder::FolderContent;
use super::product::{Content, Context, Product, Verb};
use super::screen::Screen;
use super::signal::Interrupt;
use super::text::{RED, RESET, Text, text};
use super::{down, exit, init, new, output, repair_verb, secrets, snapshot, status, trace, up, url, verify};
use crate::db::{Connector, Observer, Program};
use crate::engine::{Error, Event, Migrator};
use crate::repair::Repairer;

const EXIT_CODES: &str = "\
Exit codes:
    0  done, or nothing to do
    1  failed: a migration, a hook, a statement
    2  wrong usage
    3  something is pending (status --check)
    4  drift: history, schema, snapshot or what else is compared differs from what it should be
    5  could not acquire a lock within --lock-wait
    6  the database cannot be reached, or the connection cannot serve
    7  refused: a guard, a gate, an adoption that does not check out, a database that does not fit
    8  a repair had to leave rows
  130  interrupted by Ctrl-C, 143 by SIGTERM, after a clean rollback";

const ABOUT: &str =
    "Brings a PostgreSQL database up to date: versioned migrations, with hooks at their version boundaries";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::doc_markdown, reason = "shown as help, where backticks are noise")]
struct Global {
    /// The database, postgres://user:password@host:port/name. Default: MIGRATE_DATABASE_URL, then DATABASE_URL; these keep
    /// the password out of the process list.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<OsString>,

    /// The format of results and events on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// How long to wait for a lock, or for the older transactions that an index build waits for: 500ms, 30s, 10m.
    #[arg(long, global = true, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    lock_wait: Duration,

    /// Which set of migrations: one of migrate.toml, or a built-in one.
    #[arg(long, global = true, value_name = "NAME", value_parser = choice::set_name)]
    set: Option<String>,

    /// The folder of the migrations. Default: MIGRATE_DIR, then what migrate.toml says.
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The file that describes the sets. Default: migrate.toml in this folder or one above it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Show more: the SQL of a dry run, details of the run; twice: the driver's log, too.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Show only errors and requested results.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl Global {
    /// The folder of the flag, or else of the environment.
    fn dir(&self) -> Option<PathBuf> {
        let set = std::env::var_os("MIGRATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        self.dir.clone().or(set)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a person.
    Human,
    /// One JSON object per line.
    Json,
}

/// What to do.
enum Command<'a> {
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Snapshot(snapshot::Snapshot),
    Verify(verify::Verify),
    Repair(repair_verb::Repair),
    /// A command that the set adds.
    Own(Box<dyn Verb>, &'a ArgMatches),
}

/// The whole program: reads the command line, runs the command, reports the result.
#[must_use]
pub fn main_with(product: &Product) -> ExitCode {
    if let Some(mistake) = product.mistake() {
        output::aside(text!("{RED}error:{RESET} {mistake}"));
        return ExitCode::from(exit::FAILED);
    }
    let command = command(product);
    let parsed =
        command.clone().try_get_matches().and_then(|matches| Ok((Global::from_arg_matches(&matches)?, matches)));
    match parsed {
        Ok(_) if secrets::is_misplaced(&secrets::words()) => {
            output::aside(text!(
                "{RED}error:{RESET} a database URL is given where another value is expected; give it as --database-url, or see --help"
            ));
            ExitCode::from(exit::USAGE)
        }
        Ok((global, matches)) => run(product, &global, &matches),
        Err(error) => misused(error, &command),
    }
}

/// The command line of a product: the common commands, and the repairs, commands and checks of its sets.
fn command(product: &Product) -> clap::Command {
    let contents = &product.contents;
    let sub = |name: &'static str, about: &'static str| clap::Command::new(name).about(about);
    let verify = sub("verify", "Compare the database with what it should contain: everything, or one subject");
    let repair = sub("repair", "Correct existing data. Shows what it would do; --execute does it");
    let program =
        clap::Command::new(product.name)
            .version(product.version)
            .about(ABOUT)
            .after_help(EXIT_CODES)
            .max_term_width(100)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(init::command())
            .subcommand(new::command())
            .subcommand(up::command())
            .subcommand(down::command())
            .subcommand(status::command())
            .subcommand(snapshot::command())
            .subcommands(contents.iter().flat_map(|content| content.verbs()).map(|verb| verb.command()))
            .subcommand(verify::augment(verify, contents.iter().flat_map(|content| content.checks())))
            .subcommand(contents.iter().fold(repair_verb::command(repair), |command, content| {
                repair_verb::augment(command, &content.repairs())
            }));
    Global::augment_args(program)
}

impl<'a> Command<'a> {
    fn read(content: &dyn Content, matches: &'a ArgMatches) -> Result<Self, Failure> {
        let usage = |error: clap::Error| Failure::usage(error.to_string());
        Ok(match matches.subcommand() {
            Some(("up", matches)) => Self::Up(up::Up::from_arg_matches(matches).map_err(usage)?),
            Some(("down", matches)) => Self::Down(down::Down::from_arg_matches(matches).map_err(usage)?),
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
    fn only_shows(&self) -> bool {
        match self {
            Self::Up(up) => up.only_shows(),
            Self::Down(down) => down.only_shows(),
            Self::Status(_) | Self::Verify(_) => true,
            Self::Snapshot(snapshot) => snapshot.only_shows(),
            Self::Repair(repair) => repair.only_shows(),
            Self::Own(verb, matches) => verb.only_shows(matches),
        }
    }
}

/// The parser's error in one line: what is wrong, a tip if there is one, and where to look.
fn usage_error(text: &str) -> Text {
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ").replace(" tip:", "; tip:").replace(" [possible values", "; [possible values");
    let said = said.strip_prefix("error:").unwrap_or(&said);
    text!("{RED}error:{RESET}{said}; see --help")
}

/// Prints the parser's error in one line, or the requested help.
fn misused(mut error: clap::Error, command: &clap::Command) -> ExitCode {
    if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        secrets::hide(&mut error, command);
        output::aside(usage_error(&error.render().to_string()));
    } else if error.use_stderr() {
        output::aside(Text::ours(error.render().ansi().to_string()));
    } else {
        output::out(Text::ours(error.render().ansi().to_string()).trim_end());
        if let Some(why) = output::lost() {
            output::aside(format!("error: the help could not be written to standard output: {why}"));
            return ExitCode::from(exit::FAILED);
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
}

/// Writes a manifest. The one that there may be is not read.
fn initialise(product: &Product, global: &Global, matches: &ArgMatches, screen: &Screen) -> Result<u8, Failure> {
    let init = init::Init::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
    let (set, config) = (global.set.as_deref(), global.config.as_deref());
    let built_in = product.contents().map(|content| content.name().to_owned()).collect();
    let asked = init::Asked {
        set,
        dir: global.dir(),
        config,
        database: url::database_if_given(global.database_url.as_ref())?,
        built_in,
    };
    init.run(asked, screen)
}

/// What belongs to the set that is meant.
fn content(product: &Product, choice: &Choice) -> Result<Arc<dyn Content>, Failure> {
    let missing = |name: &str| Failure::usage(format!("set {name} cannot be run by this program"));
    match choice {
        Choice::BuiltIn(name) => product.content(name).cloned().ok_or_else(|| missing(name)),
        Choice::Folder(config) => Ok(Arc::new(FolderContent::new(product, config)?)),
    }
}

/// The end of a command that writes files and has no run to interrupt.
fn without_database(result: Result<u8, Failure>, screen: &Screen) -> ExitCode {
    let code = result.unwrap_or_else(|failure| {
        screen.failure(&failure);
        failure.exit
    });
    ExitCode::from(unless_lost(code, false, screen))
}

fn run(product: &Product, global: &Global, matches: &ArgMatches) -> ExitCode {
    let Global { format, quiet, verbose, .. } = global;
    trace::set_up(*verbose);
    let called = called(product, global);
    let screen = |set: &str| Arc::new(Screen::new(called.clone(), set, *format == Format::Json, *quiet, *verbose));
    let of_set = |set: Option<&str>| screen(set.or(global.set.as_deref()).unwrap_or(choice::MAIN));
    if let Some(("init", matches)) = matches.subcommand() {
        let screen = of_set(None);
        return without_database(initialise(product, global, matches, &screen), &screen);
    }
    let chosen = choice::choose(product, global.set.as_deref(), global.dir(), global.config.as_deref());
    if let (Some(("new", matches)), Ok(choice)) = (matches.subcommand(), &chosen) {
        let screen = of_set(Some(choice.name()));
        let new = new::New::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()));
        return without_database(new.and_then(|new| new.run(choice, &screen)), &screen);
    }
    let chosen = chosen.and_then(|choice| {
        let built_in = if let Choice::BuiltIn(name) = &choice { product.content(name) } else { None };
        let is_default = built_in.is_some_and(|content| content.wants_database_of_its_own());
        let unchosen = Unchosen::look(global.set.is_none() && is_default);
        Ok((content(product, &choice)?, unchosen))
    });
    let (content, unchosen) = match chosen {
        Ok(chosen) => chosen,
        Err(failure) => {
            screen(global.set.as_deref().unwrap_or_default()).failure(&failure);
            return ExitCode::from(failure.exit);
        }
    };
    let screen = screen(content.name());
    let failed = |failure: Failure| {
        screen.failure(&failure);
        ExitCode::from(failure.exit)
    };
    let command = match Command::read(content.as_ref(), matches) {
        Ok(command) => command,
        Err(failure) => return failed(failure),
    };
    if let Command::Up(_) | Command::Down(_) | Command::Status(_) = command {
        screen.name_database();
    }
    // A command runs on this thread, its sessions and signals on another: a terminal that takes no output stops neither.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(Failure::new(exit::FAILED, error.to_string())),
    };
    let code = runtime.block_on(async {
        let interrupt = Interrupt::listen();
        let result = tokio::select! {
            result = dispatch(content.as_ref(), &unchosen, global, &command, &screen, &interrupt) => result,
            // A server that no longer answers must not block the exit.
            () = interrupt.patience_is_over() => Err(Failure::from(Error::Interrupted)),
        };
        result.unwrap_or_else(|failure| {
            let failure = failure
                .advised_by(|error| {
                    let program = screen.program();
                    content.hint(error, program).or_else(|| unchosen.hint(error, program))
                })
                .unless_interrupted(interrupt.exit_code());
            screen.failure(&failure);
            failure.exit
        })
    });
    let code = unless_lost(code, command.only_shows(), &screen);
    // Work in the background, such as a look-up of a host name, must not delay the exit.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// How the operator calls the program: by its name, and with the flags that every command has to repeat to mean the same set.
fn called(product: &Product, global: &Global) -> Program {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let flags = [("--config", path(&global.config)), ("--dir", path(&global.dir)), ("--set", global.set.clone())];
    flags.into_iter().fold(Program::named(product.name), |program, (flag, value)| match value {
        Some(value) => program.with(flag).with(value),
        None => program,
    })
}

async fn dispatch(
    content: &dyn Content,
    unchosen: &Unchosen,
    global: &Global,
    command: &Command<'_>,
    screen: &Arc<Screen>,
    interrupt: &Interrupt,
) -> Result<u8, Failure> {
    if let Command::Repair(repair_verb::Repair::List) = command {
        repair_verb::list(&content.repairs(), screen);
        return Ok(exit::OK);
    }
    let database = url::database(global.database_url.as_ref())?;
    let lock_wait = global.lock_wait;
    let token = || interrupt.token().clone();
    if let Command::Repair(command) = command {
        let events = Arc::clone(screen);
        let observer = move |event| events.repair_event(event);
        let repairer = Repairer::new(content.name(), content.repairs(), database, token(), observer);
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
    if unchosen.is_doubtful {
        migrator = migrator.refuse_others();
    }
    connector.wait_at_most(lock_wait);
    migrator.wait_at_most(lock_wait);
    let cx = Context { unchosen, connector: &connector, migrator: &migrator, screen: Arc::clone(screen), lock_wait };
    match command {
        Command::Up(command) => command.run(content, &cx).await,
        Command::Down(command) => command.run(&cx).await,
        Command::Status(command) => command.run(&cx).await,
        Command::Snapshot(command) => command.run(&cx).await,
        Command::Verify(command) => command.run(content.checks(), &cx).await,
        Command::Own(verb, matches) => verb.run(matches, &cx).await,
        Command::Repair(_) => Ok(exit::OK),
    }
}

/// The exit code; a failure instead of success, if the result was lost. The command's work stays.
fn unless_lost(code: u8, only_shows: bool, screen: &Screen) -> u8 {
    let Some(why) = output::lost() else { return code };
    if code == exit::OK && (screen.is_json() || only_shows) {
        let failure = Failure::new(exit::FAILED, format!("the result could not be written to standard output: {why}"));
        screen.failure(&failure);
        return failure.exit;
    }
    output::aside(format!("warning: could not write to standard output: {why}"));
    code
}
