//! Rebuilds the crate when a migration file appears, changes or goes: the macro that embeds them watches only files
//! it already knows.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
