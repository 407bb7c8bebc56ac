//! The program `migrate`. See [`migrate::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    migrate::cli::run(&migrate::cli::Cli::parse())
}
