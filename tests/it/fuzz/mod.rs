//! Random texts against what reads them.
//!
//! `script/fuzz` runs a hundred thousand cases of each. A failing one prints its seed, and `FUZZ_SEED` repeats it.

mod script;
mod sql;
mod url;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::harness::{Dice, seed};

/// How many cases to run: `FUZZ_CASES`, one if `FUZZ_SEED` says which, else this many.
fn cases(default: u64) -> u64 {
    let given = std::env::var("FUZZ_CASES").ok();
    let given = given.map(|cases| cases.parse().unwrap_or_else(|_| panic!("FUZZ_CASES is not a number: {cases}")));
    if std::env::var_os("FUZZ_SEED").is_some() { 1 } else { given.unwrap_or(default) }
}

/// The seeds of that many cases.
fn seeds(cases: u64) -> impl Iterator<Item = u64> {
    let first = seed("FUZZ_SEED");
    first..first.saturating_add(cases)
}

/// How to repeat a case.
fn how_to_repeat(seed: u64) -> String {
    format!("repeat it with\n    FUZZ_SEED={seed} script/fuzz")
}

/// Tries one case after the other. Of one that fails or panics, the seed is printed.
fn try_cases(cases: u64, try_case: impl FnMut(&mut Dice) -> Result<(), String>) {
    try_seeds(seeds(cases), try_case);
}

/// The same for these seeds.
fn try_seeds(seeds: impl Iterator<Item = u64>, mut try_case: impl FnMut(&mut Dice) -> Result<(), String>) {
    for seed in seeds {
        let tried = catch_unwind(AssertUnwindSafe(|| try_case(&mut Dice::new(seed))));
        match tried {
            Ok(Ok(())) => {}
            Ok(Err(what)) => panic!("{what}\n{}", how_to_repeat(seed)),
            Err(panicked) => {
                println!("a case has panicked; {}", how_to_repeat(seed));
                resume_unwind(panicked);
            }
        }
    }
}
