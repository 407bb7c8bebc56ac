//! `migrate init`: writes a manifest after a look at the folder and, where a URL is given, at the database.

mod look;
mod run;
mod text;

pub(super) use look::usual;
pub(super) use run::{Asked, Init, command};
