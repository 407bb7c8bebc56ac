//! The program `migrate`. See [`migrate::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate::cli::main()
}
