//! The program `migrate`. See [`migrate::product`].

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate::cli::main_with(&migrate::product())
}
