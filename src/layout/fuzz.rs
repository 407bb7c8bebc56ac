//! Every reader is given names and texts put together from pieces that matter to some layout.

use super::{Folder, Layout, Options, Sources, fits, read};

const NAMES: [&str; 44] = [
    "V",
    "U",
    "R",
    "B",
    "1",
    "2",
    "10",
    "001",
    "__",
    "_",
    ".",
    "-",
    "a",
    "é",
    "b c",
    "/",
    ".sql",
    ".up.sql",
    ".down.sql",
    ".SQL",
    ".conf",
    ".rs",
    ".go",
    "up.sql",
    "down.sql",
    "migration.sql",
    "metadata.toml",
    "migration_lock.toml",
    "meta/_journal.json",
    "atlas.sum",
    "20260131120000",
    "99999999999999999999",
    "V1__a.sql",
    "V2__b.sql",
    "R__c.sql",
    "1_a.up.sql",
    "1_a.down.sql",
    "2_b.sql",
    "1_a.sql",
    "1_a/up.sql",
    "1_a/down.sql",
    "20260131120000_a/migration.sql",
    "beforeMigrate.sql",
    "V1__a.sql.conf",
];

const TEXTS: [&str; 50] = [
    "SELECT 1;",
    "\n",
    "\r\n",
    "\r",
    " ",
    ";",
    "'",
    "\"",
    "$$",
    "/*",
    "*/",
    "--",
    "-- ",
    "\u{feff}",
    "é",
    "\0",
    "${",
    "a",
    "}",
    "-- migrate:up",
    "-- migrate:down",
    " transaction:false",
    "-- migrate: no-transaction",
    "-- no-transaction",
    "-- +goose Up\n",
    "-- +goose Down\n",
    "-- +goose StatementBegin\n",
    "-- +goose StatementEnd\n",
    "-- +goose ENVSUB ON\n",
    "-- +goose NO TRANSACTION\n",
    "-- atlas:txmode none\n",
    "CREATE INDEX CONCURRENTLY i ON t (c);",
    "COPY t FROM STDIN;",
    "run_in_transaction",
    "=",
    "false",
    "executeInTransaction=false",
    "provider",
    "{\"entries\":[",
    "]}",
    "{\"idx\":0,",
    "\"when\":1,",
    "\"tag\":\"1_a\"}",
    ",",
    "h1:",
    "BEGIN ATOMIC",
    "END",
    "-- migrate:up\nSELECT 1;\n-- migrate:down\n",
    "-- +goose Up\nSELECT 1;\n",
    "{\"entries\":[{\"idx\":0,\"when\":1,\"tag\":\"1_a\"}]}",
];

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        let count = self.below(most + 1);
        (0..count).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

fn check(folder: &Folder, sources: &Sources) {
    let is_there = |path: &str| sources.find(path).is_some();
    assert!(!folder.files.is_empty() || !folder.repeatables.is_empty(), "{sources:?}");
    for two in folder.files.windows(2) {
        assert!(two[0].version < two[1].version, "{:?} {sources:?}", folder.layout);
    }
    let scripts = folder.files.iter().flat_map(|file| [Some(&file.up), file.down.as_ref()]).flatten();
    for script in scripts.chain(folder.repeatables.iter().map(|one| &one.up)) {
        assert!(is_there(&script.path) && script.line > 0, "{script:?} {sources:?}");
    }
    for (path, reason) in &folder.left_out {
        assert!(is_there(path) && !reason.is_empty(), "{path} {sources:?}");
    }
}

#[test]
fn no_reader_stumbles_over_names_and_texts() {
    let mut random = Random(7);
    let options = Options { placeholders: [("a".into(), "b".into())].into(), ..Options::default() };
    let mut read_well = [0; Layout::ALL.len()];
    for _ in 0..20_000 {
        let files: Vec<_> = (0..=random.below(4))
            .map(|_| {
                let whole = random.below(2) == 0;
                let name = if whole { NAMES[32 + random.below(12)].to_owned() } else { random.pieces(&NAMES, 6) };
                let text = match random.below(2) {
                    0 => TEXTS[random.below(TEXTS.len())].to_owned(),
                    _ => random.pieces(&TEXTS, 8),
                };
                (name, text)
            })
            .collect();
        let mut files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        // What a journal lists is not found by chance.
        if random.below(20) == 0 {
            files.truncate(1);
            files[0].0 = "1_a.sql";
            files.push(("meta/_journal.json", TEXTS[TEXTS.len() - 1]));
        }
        files.sort_unstable();
        files.dedup_by_key(|(name, _)| *name);
        let sources = Sources::embedded("f", files);
        for layout in fits(&sources) {
            assert!(Layout::ALL.contains(&layout));
        }
        for (at, layout) in Layout::ALL.into_iter().enumerate() {
            match read(&sources, layout, &options) {
                Ok(folder) => {
                    check(&folder, &sources);
                    read_well[at] += 1;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    for (layout, count) in Layout::ALL.into_iter().zip(read_well) {
        // The sum of Atlas is not found by chance.
        assert!(count > 0 || layout == Layout::Atlas, "{layout} has refused everything");
    }
}
