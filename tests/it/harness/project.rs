//! A project as an operator has it: folders of SQL files, a manifest, and a database.

use std::path::{Path, PathBuf};

use super::{Finished, TestDatabase};

/// A project with folders of SQL files, and a database.
pub struct Project {
    pub database: TestDatabase,
    pub folder: PathBuf,
}

impl Project {
    pub async fn new(name: &str, manifest: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("project-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let project = Self { database: TestDatabase::empty().await, folder };
        project.write("migrate.toml", manifest);
        project
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[track_caller]
    pub fn run(&self, code: i32, args: &[&str]) -> Finished {
        self.database.program().current_dir(&self.folder).args(args.iter().copied()).run().expect(code)
    }

    /// The same with a schema at the head of the search path.
    #[track_caller]
    pub fn run_in(&self, schema: &str, code: i32, args: &[&str]) -> Finished {
        let url = format!("{}?options=-csearch_path%3D{schema}", self.database.url);
        self.database
            .program()
            .current_dir(&self.folder)
            .env("DATABASE_URL", &url)
            .args(args.iter().copied())
            .run()
            .expect(code)
    }

    pub async fn is_there(&self, relation: &str) -> bool {
        self.database.value(&format!("SELECT to_regclass('{relation}') IS NOT NULL")).await
    }
}
