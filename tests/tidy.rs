//! Checks on the source text itself. A lint is a kind of test: `cargo test` runs it.

#![allow(
    clippy::unwrap_used,
    reason = "a file that cannot be read fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may import which. Everything not listed is forbidden.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("codec", &["base"]),
    ("topic", &["base"]),
    ("config", &["base"]),
    ("metrics", &["base"]),
    ("session", &["base", "codec", "config"]),
    ("journal", &["base", "codec"]),
    ("auth", &["base", "codec", "config"]),
    ("connection", &["base", "codec", "config", "session"]),
    (
        "shard",
        &[
            "auth",
            "base",
            "codec",
            "config",
            "connection",
            "journal",
            "metrics",
            "session",
            "topic",
        ],
    ),
    (
        "runtime",
        &["base", "config", "control", "journal", "metrics", "shard"],
    ),
    ("control", &["base", "config", "metrics"]),
    ("client", &["base", "codec", "config"]),
    ("node", &["base"]),
    (
        "cli",
        &["base", "client", "codec", "config", "node", "runtime"],
    ),
];

const UNSAFE_ALLOWED: &[&str] = &["base", "runtime"];
const COLUMNS_MAX: usize = 100;
/// Put together, so that this file does not find itself.
const LEFTOVERS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];
/// Starts of paths that exist on somebody's machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// A source file: its path from the workspace's root, and its text.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The module under `src/` that the file belongs to; `main.rs` and `lib.rs` belong to none.
    fn module(&self) -> Option<&str> {
        let (module, _) = self.name.strip_prefix("src/")?.split_once('/')?;
        Some(module)
    }

    /// Where the tests inside the file begin; the whole file may be one.
    fn tests_start(&self) -> usize {
        let is_test = |part: &str| part == "tests" || part == "tests.rs";
        if self.name.split('/').any(is_test) {
            return 0;
        }
        let inline = self.text.match_indices("#[cfg(test)]").find(|(index, _)| {
            let after = self.text[*index..]
                .lines()
                .find(|line| line.starts_with("mod "));
            after.is_some_and(|line| line.ends_with('{'))
        });
        inline.map_or(self.text.len(), |(index, _)| index)
    }
}

fn check_text(source: &Source, errors: &mut Vec<String>) {
    let name = &source.name;
    if name.ends_with(".rs") && !source.text.starts_with("//!") {
        errors.push(format!("{name}:1: does not start with a `//!` paragraph"));
    }
    for (index, line) in source.text.lines().enumerate() {
        let number = index + 1;
        let is_long = line.chars().count() > COLUMNS_MAX && !line.contains("http");
        if name.ends_with(".rs") && is_long {
            errors.push(format!("{name}:{number}: more than {COLUMNS_MAX} columns"));
        }
        for leftover in LEFTOVERS
            .iter()
            .filter(|leftover| line.contains(**leftover))
        {
            errors.push(format!("{name}:{number}: leftover {leftover}"));
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            errors.push(format!(
                "{name}:{number}: path of somebody's machine, {path}"
            ));
        }
    }
}

fn check_module(source: &Source, errors: &mut Vec<String>) {
    let name = &source.name;
    let Some(module) = source.module() else {
        return;
    };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return errors.push(format!("{name}: module `{module}` is not in MAY_IMPORT"));
    };
    for (number, target) in imports(&source.text) {
        let is_module = MAY_IMPORT.iter().any(|(name, _)| *name == target);
        if is_module && target != module && !allowed.contains(&target.as_str()) {
            errors.push(format!(
                "{name}:{number}: `{module}` may not use `{target}`"
            ));
        }
    }
    if UNSAFE_ALLOWED.contains(&module) {
        return;
    }
    for (index, line) in source.text.lines().enumerate() {
        if line.contains("unsafe ") && !line.trim_start().starts_with("//") {
            let number = index + 1;
            errors.push(format!(
                "{name}:{number}: unsafe outside {UNSAFE_ALLOWED:?}"
            ));
        }
    }
    let is_root = *name == format!("src/{module}/mod.rs");
    if is_root && !source.text.contains("#![forbid(unsafe_code)]") {
        errors.push(format!("{name}: #![forbid(unsafe_code)] is missing"));
    }
}

/// What is named behind `crate::`, also in groups, with the number of its line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let word = |text: &str| -> String {
        let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_part).collect()
    };
    let mut found = Vec::new();
    for (index, _) in text.match_indices("crate::") {
        let number = text[..index].matches('\n').count() + 1;
        let path = &text[index + "crate::".len()..];
        let Some(group) = path.strip_prefix('{') else {
            found.push((number, word(path)));
            continue;
        };
        found.push((number, word(group)));
        let mut depth = 0;
        for (index, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push((number, word(&group[index + 1..]))),
                _ => {}
            }
        }
    }
    found
}

/// Every normative statement that the code names must be named in at least one test.
fn check_statements(sources: &[Source], tables: &[Source], errors: &mut Vec<String>) {
    let mut shown = BTreeSet::new();
    for table in tables {
        shown.extend(statements(&table.text).map(|(_, id)| id));
    }
    for source in sources {
        shown.extend(statements(&source.text[source.tests_start()..]).map(|(_, id)| id));
    }
    for source in sources
        .iter()
        .filter(|source| source.name.starts_with("src/"))
    {
        for (number, id) in statements(&source.text[..source.tests_start()]) {
            if !shown.contains(id) {
                errors.push(format!(
                    "{}:{number}: [{id}] is named in no test",
                    source.name
                ));
            }
        }
    }
}

/// The `[MQTT-x.y.z-n]` of a text, with the numbers of their lines.
fn statements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split('[').skip(1).filter_map(move |part| {
            let (id, _) = part.split_once(']')?;
            let digits = id.strip_prefix("MQTT-")?;
            let is_number = digits
                .chars()
                .all(|c| c.is_ascii_digit() || c == '.' || c == '-');
            is_number.then_some((index + 1, id))
        })
    })
}

/// All files below `folder` that `wanted` takes, with their names from `root` on.
fn read(root: &Path, folder: &str, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<Source>) {
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                let generated = ["target", "node_modules", "corpus", "artifacts"];
                if !generated.iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
            } else if wanted(&path) {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { name, text });
            }
        }
    }
}

#[test]
fn source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let mut sources = Vec::new();
    for folder in ["src", "tests", "bench-harness"] {
        read(root, folder, &is_rust, &mut sources);
    }
    let mut errors = Vec::new();
    for source in &sources {
        check_text(source, &mut errors);
        check_module(source, &mut errors);
    }
    // The conformance tables are tests too.
    let is_table = |path: &Path| path.extension().is_some_and(|extension| extension == "txt");
    let mut tables = Vec::new();
    read(root, "tests/conformance", &is_table, &mut tables);
    check_statements(&sources, &tables, &mut errors);

    let is_other = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(
            extension,
            None | Some("md" | "toml" | "sh" | "py" | "js" | "mjs" | "json" | "txt")
        )
    };
    let mut others = Vec::new();
    for folder in ["src", "tests", "bench-harness", ".ci", "tuning"] {
        read(root, folder, &is_other, &mut others);
    }
    for name in ["README.md", "Cargo.toml", ".clippy.toml"] {
        if let Ok(text) = fs::read_to_string(root.join(name)) {
            others.push(Source::new(name, &text));
        }
    }
    for source in &others {
        check_text(source, &mut errors);
    }
    assert!(errors.is_empty(), "untidy:\n{}", errors.join("\n"));
}

fn errors_of(name: &str, text: &str) -> Vec<String> {
    let source = Source::new(name, text);
    let mut errors = Vec::new();
    check_text(&source, &mut errors);
    check_module(&source, &mut errors);
    check_statements(&[source], &[], &mut errors);
    errors
}

#[test]
fn untidy_source_is_reported() {
    let long = format!("//! x\n// {}", "x".repeat(COLUMNS_MAX));
    let leftover = format!("//! x\n// {} later", LEFTOVERS[0]);
    let machine = format!("//! see {}someone/notes", MACHINE_PATHS[0]);
    let cases = [
        ("src/codec/a.rs", "use crate::base;", "does not start with"),
        ("src/codec/a.rs", &long, ":2: more than 100 columns"),
        ("src/codec/a.rs", &leftover, ":2: leftover"),
        ("src/codec/a.rs", &machine, ":1: path of somebody's machine"),
        (
            "src/codec/a.rs",
            "//! x\nuse crate::shard::Shard;",
            "`codec` may not use `shard`",
        ),
        (
            "src/topic/a.rs",
            "//! x\nuse crate::{base::{ids, time},\n    session};",
            ":2: `topic` may not use `session`",
        ),
        (
            "src/extra/a.rs",
            "//! x",
            "module `extra` is not in MAY_IMPORT",
        ),
        (
            "src/topic/a.rs",
            "//! x\nunsafe { f() }",
            ":2: unsafe outside",
        ),
        (
            "src/topic/mod.rs",
            "//! x",
            "#![forbid(unsafe_code)] is missing",
        ),
        (
            "src/topic/a.rs",
            "//! [MQTT-4.7.1-1]",
            ":1: [MQTT-4.7.1-1] is named in no test",
        ),
    ];
    for (name, text, expected) in cases {
        let errors = errors_of(name, text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
}

#[test]
fn tidy_source_is_not_reported() {
    let tested = "//! [MQTT-4.7.1-1]\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    \
                  // [MQTT-4.7.1-1]\n}\n";
    let cases = [
        ("src/main.rs", "//! x\nuse crate::shard::Shard;"),
        (
            "src/topic/mod.rs",
            "//! x\n#![forbid(unsafe_code)]\nuse crate::base::{ids, time};",
        ),
        ("src/runtime/mod.rs", "//! x\nunsafe { f() }"),
        ("src/topic/a.rs", tested),
        ("src/topic/tests.rs", "//! x\n// [MQTT-4.7.1-2]"),
    ];
    for (name, text) in cases {
        assert_eq!(errors_of(name, text), Vec::<String>::new(), "{text}");
    }
}
