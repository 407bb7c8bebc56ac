//! The layouts, and what each means for a run.

use std::fmt;

use serde::Serialize;

/// How a folder lays out its migrations: the tool it was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// This program's own: `V<n>__<name>.sql` or `<n>_<name>.sql`, `.up.sql` and `.down.sql`, `R__<name>.sql`.
    Migrate,
    /// refinery: `V<n>__<name>.sql`, `U<n>__<name>.sql`.
    Refinery,
    /// Flyway: `V<dotted>__<name>.sql`, `R__<name>.sql`, `B<dotted>__<name>.sql`, `.sql.conf` beside them.
    Flyway,
    /// sqlx: `<n>_<name>.sql`, or `.up.sql` with `.down.sql`.
    Sqlx,
    /// golang-migrate: `<n>_<name>.up.sql` and `.down.sql`.
    GolangMigrate,
    /// `<name>.up.sql` and `.down.sql`, ordered and recorded by their names.
    UpDown,
    /// Supabase: `<n>_<name>.sql`, by name.
    Supabase,
    /// Atlas: `<version>_<name>.sql` with `atlas.sum`.
    Atlas,
    /// dbmate: `<digits>_<name>.sql` with `-- migrate:up` and `-- migrate:down`.
    Dbmate,
    /// goose: `<n>_<name>.sql` with `-- +goose Up` and `-- +goose Down`.
    Goose,
    /// Diesel: a folder a version, with `up.sql` and `down.sql`.
    Diesel,
    /// Prisma: a folder a version, with `migration.sql`, and `migration_lock.toml`.
    Prisma,
    /// Drizzle to 0.45: files that `meta/_journal.json` lists.
    Drizzle,
    /// Drizzle 1.0: folders `<14 digits>_<name>` with `migration.sql`.
    DrizzleFolders,
}

/// What a file means that stands below an applied one and was never applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It is applied.
    Apply,
    /// The run is refused.
    Refuse,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Migrate,
        Self::Refinery,
        Self::Flyway,
        Self::Sqlx,
        Self::GolangMigrate,
        Self::UpDown,
        Self::Supabase,
        Self::Atlas,
        Self::Dbmate,
        Self::Goose,
        Self::Diesel,
        Self::Prisma,
        Self::Drizzle,
        Self::DrizzleFolders,
    ];

    /// As it is written in `migrate.toml`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Refinery => "refinery",
            Self::Flyway => "flyway",
            Self::Sqlx => "sqlx",
            Self::GolangMigrate => "golang-migrate",
            Self::UpDown => "up-down",
            Self::Supabase => "supabase",
            Self::Atlas => "atlas",
            Self::Dbmate => "dbmate",
            Self::Goose => "goose",
            Self::Diesel => "diesel",
            Self::Prisma => "prisma",
            Self::Drizzle => "drizzle",
            Self::DrizzleFolders => "drizzle-folders",
        }
    }

    /// The layout of this key.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.key() == key)
    }

    /// What its tool does with a file below an applied one. Where the tool would skip it without a word, it is refused.
    #[must_use]
    pub fn late(self) -> Late {
        match self {
            Self::Sqlx | Self::UpDown | Self::Dbmate | Self::Diesel | Self::Prisma | Self::DrizzleFolders => {
                Late::Apply
            }
            Self::Migrate
            | Self::Refinery
            | Self::Flyway
            | Self::GolangMigrate
            | Self::Supabase
            | Self::Atlas
            | Self::Goose
            | Self::Drizzle => Late::Refuse,
        }
    }

    /// Whether its tool refuses a recorded version that has no file.
    #[must_use]
    pub fn refuses_entry_without_file(self) -> bool {
        matches!(
            self,
            Self::Migrate
                | Self::Sqlx
                | Self::Refinery
                | Self::Flyway
                | Self::GolangMigrate
                | Self::Prisma
                | Self::Supabase
        )
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}
