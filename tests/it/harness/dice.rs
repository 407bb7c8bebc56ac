//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (xorshift).
pub struct Dice(u64);

/// The seed that an environment variable gives, or one of the moment. It is printed, so that a failure can be repeated.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_micros())
            .expect("a while yet")
    });
    println!("{variable}={seed}");
    seed
}

impl Dice {
    /// Neighbouring seeds give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 up to, and without, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).expect("a small number")]
    }
}
