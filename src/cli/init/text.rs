//! The manifest that is written: what matters is set, and the rest is there to be uncommented.

use crate::engine::ToolTable;
use crate::layout::Layout;

/// What is known of a set.
pub(super) struct Facts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its folder, relative to the manifest.
    pub dir: &'a str,
    /// How that is laid out.
    pub layout: Layout,
    /// Whether the program has a set of this name, which lies over the folder then.
    pub is_over: bool,
    /// The history of the tool that the folder was written for.
    pub history: Option<&'a ToolTable>,
}

/// The keys that are left to the reader, with what each does.
const REST: &str = r#"
# Write each version that is applied into that history too, in the same transaction, so that its tool can go on after us.
# keep = true

# The role that owns what the migrations make; or a table, whose owner does, and in whose schema it is made.
# owner = "app_owner"
# owned-like = "users"

# Refuse servers older than this major version.
# minimum-server = 15

# The advisory lock of a run, where something else must not run beside it.
# lock-key = 727

# A file below an applied one: "apply" it, or "refuse" the run. Default: what the layout's tool does.
# late = "refuse"

# Files that run outside a transaction, although their tool would open one.
# no-transaction = ["0007_index_concurrently.sql"]

# The file that `migrate snapshot` writes and compares.
# snapshot = "schema.txt"
"#;

/// The text of the manifest.
pub(super) fn manifest(facts: &Facts<'_>) -> String {
    let Facts { name, layout, .. } = facts;
    let dir = quoted(facts.dir);
    let over = format!("# The built-in set that is laid over the folder.\nover = \"{name}\"\n\n");
    let history = match facts.history {
        Some(table) if table.is_visible => format!("take-over = \"{}\"", table.tool),
        Some(table) => format!("take-over = {{ tool = \"{}\", table = {} }}", table.tool, quoted(&table.qualified)),
        None => "# take-over = { tool = \"goose\", table = \"ops.goose_db_version\" }".to_owned(),
    };
    [
        "# The migrations of this project. Paths are relative to this file; an unknown key is an error.\n\n".to_owned(),
        format!("[set.{name}]\n# The folder of the files.\ndir = {dir}\n\n"),
        format!("# The tool whose rules the files follow: names, order, transactions.\nlayout = \"{layout}\"\n\n"),
        if facts.is_over { over } else { String::new() },
        format!("# The history of another tool that is continued. Default: what the database has.\n{history}\n"),
        REST.to_owned(),
        format!(
            "\n# What replaces ${{name}} in the files of Flyway.\n# [set.{name}.placeholders]\n# schema = \"app\"\n"
        ),
        "# tablespace = { env = \"APP_TABLESPACE\", default = \"pg_default\" }\n".to_owned(),
    ]
    .concat()
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(format!("\\u{:04X}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::Tool;
    use crate::manifest::{Known, Manifest, TakeOver};

    fn parse(text: &str, folder: &Path) -> Manifest {
        let known = Known { sets: vec!["notes".to_owned()], hooks: &Vec::new };
        Manifest::parse("migrate.toml", text, folder, &known).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn what_is_written_is_read_and_so_is_what_is_commented_out() {
        let folder = std::env::temp_dir().join(format!("migrate-init-{}", std::process::id()));
        let dir = "it's \"here\" \\ \u{7f}";
        std::fs::create_dir_all(folder.join(dir)).unwrap();
        let table_of = |is_visible| ToolTable {
            tool: Tool::Goose,
            schema: "My Ops".to_owned(),
            table: "goose".to_owned(),
            qualified: "\"My Ops\".goose".to_owned(),
            is_visible,
            columns: Vec::new(),
        };
        let facts = |name, history| Facts { name, dir, layout: Layout::Goose, is_over: name == "notes", history };
        let hidden = table_of(false);
        let text = manifest(&facts("notes", Some(&hidden)));
        let read = parse(&text, &folder);
        let set = read.default_set().unwrap();
        assert_eq!(
            (set.dir.clone(), set.layout, set.over.as_deref()),
            (folder.join(dir), Some(Layout::Goose), Some("notes"))
        );
        let table = Some("\"My Ops\".goose".to_owned());
        assert_eq!(set.take_over, Some(TakeOver::History { tool: Some(Tool::Goose), table }));
        let visible = table_of(true);
        let read = parse(&manifest(&facts("main", Some(&visible))), &folder);
        let taken = Some(TakeOver::History { tool: Some(Tool::Goose), table: None });
        assert_eq!(read.default_set().unwrap().take_over, taken);
        // Every key that is commented out can be uncommented, one owner and one history apart.
        let text = manifest(&facts("main", None));
        let uncommented = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("owned-like") => "",
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest,
            _ => line,
        });
        let read = parse(&uncommented.collect::<Vec<_>>().join("\n"), &folder);
        let set = read.default_set().unwrap();
        assert!(set.keep && set.lock_key.is_some() && set.late.is_some() && set.snapshot.is_some());
        assert!(set.owner.is_some() && set.minimum_server == Some(15) && set.placeholders.len() == 2);
    }
}
