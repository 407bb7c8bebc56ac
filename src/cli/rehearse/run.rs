//! The command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command};

use super::copy::{COPY_URL, Copy, connector, observed};
use super::report::Report;
use super::{human, page};
use crate::call::Call;
use crate::engine::{Migrator, Part};
use crate::exit;
use crate::failure::Failure;
use crate::text;
use crate::up::Pending;
use crate::url;
use crate::written::Reserved;

/// Arguments of `migrate rehearse`.
#[derive(Debug, Args)]
#[allow(clippy::doc_markdown, reason = "shown as help, where backticks are noise")]
pub(in super::super) struct Rehearse {
    /// Rehearse on this copy, a restored backup that nobody else uses. It is changed, and data that the way back drops is lost.
    /// Default: MIGRATE_REHEARSAL_URL.
    #[arg(long, value_name = "URL", conflicts_with = "scratch")]
    on: Option<OsString>,

    /// Rehearse on a new, empty database beside this one, built to the version that this one has, and dropped afterwards.
    #[arg(long)]
    scratch: bool,

    /// Fill it with so many made-up rows. For sets that know how.
    #[arg(long, value_name = "N", requires = "scratch")]
    rows: Option<u64>,

    /// Go on although other sessions use the copy.
    #[arg(long, conflicts_with = "scratch")]
    in_use: bool,

    #[command(flatten)]
    pending: Pending,

    /// Write the result to this new file. up --approved takes it.
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,

    /// Write the result to this new file, as a page.
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
}

/// The command line of `migrate rehearse`.
pub(in super::super) fn command() -> Command {
    let rehearse = Rehearse::augment_args(Command::new("rehearse"));
    rehearse.about("Apply what is pending on a copy, take it back, apply it again, and measure all of it").long_about(
        "Apply what is pending on a copy, take it back, apply it again, and measure all of it\n\n\
         For each version: its time, the locks it takes on each table and how long it holds them, what it rewrites, reads and \
         changes, and what the server writes to its log. And whether the way back leads back to the schema before.",
    )
}

impl Rehearse {
    pub async fn run(&self, call: &Call<'_>) -> Result<u8, Failure> {
        let reserve = |path: &Option<PathBuf>| path.as_deref().map(Reserved::new).transpose();
        let (output, page) = (reserve(&self.output)?, reserve(&self.page)?);
        let Some(copy) = Box::pin(self.copy(call)).await? else {
            return Ok(nothing(call));
        };
        let played = Box::pin(self.play(&copy, call, output, page)).await;
        copy.remove(call).await;
        played
    }

    /// Where it is played; none if nothing is pending.
    async fn copy(&self, call: &Call<'_>) -> Result<Option<Copy>, Failure> {
        let main = url::database_if_given(call.database_url)?;
        let given = || std::env::var_os(COPY_URL).filter(|url| !url.is_empty());
        match self.on.clone().or_else(|| given().filter(|_| !self.scratch)) {
            Some(url) => Copy::named(&url, main.as_ref(), self.in_use, &self.pending, call).await.map(Some),
            None if !self.scratch => Err(Failure::usage("no copy given to rehearse on")
                .hint("pass --on URL, a restored backup, or --scratch, a new database beside this one")),
            None => Box::pin(Copy::made(&url::database(call.database_url)?, self.rows, &self.pending, call)).await,
        }
    }

    async fn play(
        &self,
        copy: &Copy,
        call: &Call<'_>,
        mut output: Option<Reserved>,
        mut page: Option<Reserved>,
    ) -> Result<u8, Failure> {
        let set = call.content.set_for(&connector(&copy.database, call)).await?;
        let options = self.pending.options(&set, call.lock_wait)?;
        let mut migrator = Migrator::new(set, copy.database.clone(), call.interrupt.token().clone(), observed(call));
        if call.unchosen.is_doubtful {
            migrator = migrator.refuse_others();
        }
        let started = time::OffsetDateTime::now_utc();
        let Some(rehearsal) = migrator.rehearse(&options).await? else {
            return Ok(nothing(call));
        };
        let report = Report::of(&rehearsal, copy, call, started);
        let html = page::page(&rehearsal, &report);
        // Both appear, or neither.
        if let Some(output) = &mut output {
            output.fill(&report.text())?;
        }
        if let Some(page) = &mut page {
            page.fill(&html)?;
        }
        output.into_iter().chain(page).try_for_each(Reserved::publish)?;
        call.screen.show(
            || human::show(&rehearsal, &report, call.screen.as_ref()),
            |to| to.named("rehearsed", &report.json()),
        );
        self.tell_files(call, rehearsal.passed());
        let passed = rehearsal.passed();
        let part = rehearsal.error().map(|(part, _)| part);
        match rehearsal.into_error() {
            Some(error) => Err(Failure::from(error).hint(part.map_or("", mended))),
            None if passed => Ok(exit::OK),
            None => Ok(exit::DRIFT),
        }
    }

    /// Where the result is, and what to do with it.
    fn tell_files(&self, call: &Call<'_>, passed: bool) {
        for file in self.output.iter().chain(&self.page) {
            call.screen.aside(text!("the rehearsal is in {}", file.display()));
        }
        if let Some(file) = self.output.as_ref().filter(|_| passed) {
            let file = crate::db::quoted(&file.to_string_lossy());
            let up = call.screen.command(&format!("up{} --approved {file}", self.pending.typed()));
            call.screen.aside(text!("next: {up}"));
        }
    }
}

/// What to do about a part that failed. The error's own advice is for a real run.
fn mended(part: Part) -> &'static str {
    match part {
        Part::Up => "this was the rehearsal; mend what failed, and rehearse again on a fresh copy",
        Part::Back => "this was the rehearsal; mend the way back, and rehearse again on a fresh copy",
        Part::Again => {
            "this was the rehearsal; what the way back leaves behind is in the way of the second run: mend the way back, and rehearse \
             again on a fresh copy"
        }
    }
}

fn nothing(call: &Call<'_>) -> u8 {
    call.screen.show(
        || crate::output::out("nothing is pending, so there is nothing to rehearse"),
        |to| to.named("nothing_to_rehearse", &serde_json::json!({})),
    );
    exit::OK
}
