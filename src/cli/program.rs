//! The command line: arguments in, events and results out, an exit code at the end.

use std::ffi::OsString;
use std::future::pending;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};
use tokio::runtime::{Builder, Handle};

use super::beside::Unchosen;
use super::call::Call;
use super::choice::{self, Choice};
use super::command::{Command, command_of};
use super::failure::Failure;
use super::folder::FolderContent;
use super::product::{Content, Product};
use super::screen::Screen;
use super::signal::Interrupt;
use super::text::{RED, RESET, Text, text};
use super::{
    down, evidence, exit, init, new, output, rehearse, repair_verb, secrets, snapshot, status, trace, up, url, verify,
};
use crate::db::Program;
use crate::engine::Error;

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

/// The whole program: reads the command line, runs the command, reports the result.
#[must_use]
pub fn main_with(product: &Product) -> ExitCode {
    if let Some(mistake) = product.mistake() {
        return mistaken(&mistake);
    }
    let read = |command: clap::Command| command.try_get_matches().and_then(|m| Ok((Global::from_arg_matches(&m)?, m)));
    // What the sets add is put together only where somebody asks for something else than a common command.
    if let Ok((global, matches)) = read(Global::augment_args(common(product)))
        && !secrets::is_misplaced(&secrets::words())
    {
        return run(product, &global, &matches);
    }
    if let Some(mistake) = product.mistake_in_names() {
        return mistaken(&mistake);
    }
    let command = command(product);
    match read(command.clone()) {
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

/// A mistake in the program itself.
fn mistaken(mistake: &str) -> ExitCode {
    output::aside(text!("{RED}error:{RESET} {mistake}"));
    ExitCode::from(exit::FAILED)
}

/// The command line of a product: the common commands, and the repairs, commands and checks of its sets.
fn command(product: &Product) -> clap::Command {
    let contents = &product.contents;
    let sub = |name: &'static str, about: &'static str| clap::Command::new(name).about(about);
    let verify = sub("verify", "Compare the database with what it should contain: everything, or one subject");
    let repair = sub("repair", "Correct existing data. Shows what it would do; --execute does it");
    let program =
        common(product)
            .subcommands(contents.iter().flat_map(|content| content.verbs()).map(|verb| command_of(verb.as_ref())))
            .subcommand(verify::augment(verify, contents.iter().flat_map(|content| content.checks())))
            .subcommand(contents.iter().fold(repair_verb::command(repair), |command, content| {
                repair_verb::augment(command, &content.repairs())
            }));
    Global::augment_args(program)
}

/// The commands that every product has, and no set adds to.
fn common(product: &Product) -> clap::Command {
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
        .subcommand(rehearse::command())
        .subcommand(status::command())
        .subcommand(snapshot::command())
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

/// Checks a folder of evidence. It needs no set, and a database only if one is given.
fn verify_evidence(global: &Global, matches: &ArgMatches, screen: &Screen) -> Result<u8, Failure> {
    let database = url::database_if_given(global.database_url.as_ref())?;
    runtime()?.block_on(async {
        let interrupt = Interrupt::listen();
        let verified = tokio::select! {
            verified = evidence::verify(matches, database, interrupt.token().clone(), screen) => verified,
            () = interrupt.patience_is_over() => Err(Failure::from(Error::Interrupted)),
        };
        verified.map_err(|failure| failure.unless_interrupted(interrupt.exit_code()))
    })
}

/// A command runs on this thread, its sessions and signals on another: a terminal that takes no output stops neither.
/// The end of the program ends that one, whatever it is at: a look-up of a host name must not delay the exit.
fn runtime() -> Result<Handle, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let started = runtime.and_then(|runtime| {
        let handle = runtime.handle().clone();
        thread::Builder::new().name("sessions".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(handle)
    });
    started.map_err(|error| Failure::new(exit::FAILED, error.to_string()))
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
    if let Some(matches) = evidence::of_verify(matches) {
        let screen = of_set(None);
        return without_database(verify_evidence(global, matches, &screen), &screen);
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
    if let Command::Up(_) | Command::Down(_) | Command::Status(_) | Command::Rehearse(_) = command {
        screen.name_database();
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return failed(failure),
    };
    let code = runtime.block_on(async {
        let interrupt = Interrupt::listen();
        let call = Call {
            content: content.as_ref(),
            unchosen: &unchosen,
            database_url: global.database_url.as_ref(),
            lock_wait: global.lock_wait,
            screen: &screen,
            interrupt: &interrupt,
            version: product.version,
        };
        let result = tokio::select! {
            result = call.run(&command) => result,
            // A server that no longer answers must not block the exit.
            () = interrupt.patience_is_over() => Err(Failure::from(Error::Interrupted)),
        };
        result.unwrap_or_else(|failure| {
            let failure = call.explained(failure);
            screen.failure(&failure);
            failure.exit
        })
    });
    ExitCode::from(unless_lost(code, command.only_shows(), &screen))
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
