//! Dependencies point down only. The manifests define the layering. This file checks them against ARCHITECTURE.md, and the
//! sources against rules that a manifest cannot express. A violation is reported with its file and line.

use crate::workspace::{self, SourceFile};

/// File names that do not describe the content.
const DRAWERS: [&str; 4] = ["base.rs", "helpers.rs", "mod.rs", "utils.rs"];

/// Every crate and the workspace crates that it may use, bottom up, as in ARCHITECTURE.md.
const MAP: [(&str, &[&str]); 14] = [
    ("common/error", &[]),
    ("common/files", &["error"]),
    ("common/kernels", &[]),
    ("common/picture", &["error", "files"]),
    ("common/video", &["error", "files", "kernels", "picture"]),
    ("common/flow", &["kernels", "picture"]),
    ("common/cli", &["error", "kernels"]),
    ("common/web", &[]),
    ("common", &["error", "files"]),
    ("infer/engine", &["common", "error", "kernels"]),
    ("infer", &["cli", "common", "engine", "error", "files", "flow", "kernels", "picture", "video", "web"]),
    ("trainer/nn", &["common", "error", "kernels", "picture"]),
    ("trainer", &["cli", "common", "error", "files", "flow", "kernels", "nn", "picture", "video", "web"]),
    ("tests", &["common", "error", "files", "infer", "kernels", "nn", "picture", "trainer"]),
];

/// The crates that need tensors for more than a GPU.
const KNOW_TENSORS: [&str; 3] = ["tests", "trainer", "trainer/nn"];

#[test]
fn every_crate_uses_the_crates_that_the_map_allows_it() {
    let members: Vec<_> = MAP.iter().map(|(name, _)| *name).collect();
    assert_eq!(sorted(workspace::members()), sorted(members), "the members of the workspace are not those of the map");
    for (name, allowed) in MAP {
        let manifest = workspace::read(&format!("{name}/Cargo.toml"));
        for dependency in dependencies(&manifest, Table::Normal) {
            let Some(ours) = dependency.strip_prefix("impasto-") else { continue };
            assert!(allowed.contains(&ours), "`{name}` must not depend on `{ours}`");
        }
    }
}

#[test]
fn painting_needs_no_tensors_and_frameworks_stay_in_command_lines_and_servers() {
    for (name, _) in MAP {
        let manifest = workspace::read(&format!("{name}/Cargo.toml"));
        let needed = dependencies(&manifest, Table::Required);
        let has = |wanted: &str| needed.iter().any(|dependency| dependency == wanted);
        assert!(!has("candle-core") || KNOW_TENSORS.contains(&name), "`{name}` must not need candle");
        assert!(
            !has("clap") || ["common/cli", "infer", "tests", "trainer"].contains(&name),
            "`{name}` parses no arguments"
        );
        assert!(!has("axum") || ["common/web", "infer", "trainer"].contains(&name), "`{name}` knows no HTTP");
    }
}

#[test]
fn every_crate_but_the_kernels_forbids_unsafe_code() {
    for (name, _) in MAP.into_iter().filter(|&(name, _)| !["common/kernels", "tests"].contains(&name)) {
        let root = workspace::read(&format!("{name}/src/lib.rs"));
        assert!(root.contains("#![forbid(unsafe_code)]"), "`{name}/src/lib.rs` does not forbid it");
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

#[test]
fn versions_are_given_once_in_the_root_manifest() {
    for (name, _) in MAP {
        let manifest = workspace::read(&format!("{name}/Cargo.toml"));
        let strays: Vec<_> = manifest.lines().filter(|line| line.contains("version = \"")).collect();
        assert!(strays.is_empty(), "`{name}/Cargo.toml` gives its own version: {strays:?}");
    }
}

#[test]
fn only_the_command_line_layers_know_clap() {
    assert_clean(|path| if is_command_line(path) { &[] } else { &["clap"] });
}

#[test]
fn libraries_neither_print_nor_exit() {
    let calls = &["println", "eprintln", "print", "eprint", "dbg", "exit"];
    assert_clean(|path| if is_library(path) { calls } else { &[] });
}

#[test]
fn no_file_has_a_meaningless_name() {
    let drawers = workspace::sources().into_iter().filter(|source| {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        DRAWERS.contains(&name)
    });
    let drawers: Vec<_> = drawers.map(|source| source.path).collect();
    assert!(drawers.is_empty(), "name these by what they hold: {drawers:?}");
}

#[test]
fn the_reader_sees_what_it_must_and_only_that() {
    let words = ["clap", "exit", "trainer"];
    for seen in
        ["use clap::Parser;", "    std::process::exit(1);", "let x = trainer::run();", "pub use trainer;", "exit (2)"]
    {
        assert_eq!(offences(&source(seen), &words).len(), 1, "{seen}");
    }
    let unseen =
        ["// use clap::Parser;", "/// see clap::Parser", "\"clap::Parser\"", "let clapper = 1; // clap::", "self.exit"];
    for unseen in unseen {
        assert_eq!(offences(&source(unseen), &words), Vec::<String>::new(), "{unseen}");
    }
    let manifest = "[package]
name = \"x\"
[dependencies]
a.workspace = true
b = { version = \"1\", optional = true }
\
                    [target.'cfg(unix)'.dependencies]
c = { x = 1 }
[dev-dependencies]
d = 1
[lints]
e = 1
";
    assert_eq!(dependencies(manifest, Table::Normal), ["a", "b", "c"]);
    assert_eq!(dependencies(manifest, Table::Required), ["a", "c"]);
}

fn source(text: &str) -> SourceFile {
    SourceFile { path: "synthetic.rs".into(), text: text.into() }
}

/// Fails with every line of the workspace in which a word that `forbidden` gives for its path is used.
fn assert_clean(forbidden: impl Fn(&str) -> &'static [&'static str]) {
    let sources = workspace::sources();
    assert!(sources.len() > 10, "only {} sources were found: the reader is broken", sources.len());
    let found: Vec<_> = sources.iter().flat_map(|source| offences(source, forbidden(&source.path))).collect();
    assert!(found.is_empty(), "not allowed here:\n{}", found.join("\n"));
}

/// The lines of `source` that use one of `words` as a crate, a keyword, a macro or a function, with their places.
fn offences(source: &SourceFile, words: &[&str]) -> Vec<String> {
    let lines = source.text.lines().enumerate().map(|(i, line)| (i, code_of(line)));
    let found = lines.filter(|(_, code)| words.iter().any(|word| uses(code, word)));
    found.map(|(i, code)| format!("{}:{}: {}", source.path, i + 1, code.trim())).collect()
}

/// A line without its comment and without the contents of its string literals.
///
/// A literal that spans lines is read as code from its second line on: none of the words above occurs in such a literal.
fn code_of(line: &str) -> String {
    let line = line.replace("\\\"", "");
    let mut code = String::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            code.push_str("\"\"");
            continue;
        }
        let (kept, comment) = part.split_once("//").map_or((part, false), |(kept, _)| (kept, true));
        code.push_str(kept);
        if comment {
            break;
        }
    }
    code
}

/// Whether `word` occurs in `code` as a whole word that is not a field, and is called or used as a path: `word::`, `word!`,
/// `word(`, `use word`.
fn uses(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let before = &code[..start];
        let after = code[start + word.len()..].trim_start();
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || "_.".contains(c))
            && !code[start + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let reached = ["::", "!", "("].iter().any(|mark| after.starts_with(mark)) || before.trim_end().ends_with("use");
        whole && reached
    })
}

/// Which dependencies of a manifest are meant.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    /// All but those of tests.
    Normal,
    /// Those of them that every build needs.
    Required,
}

/// The names in a manifest's tables of dependencies, those of tests and build scripts left out.
fn dependencies(manifest: &str, wanted: Table) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = table == "dependencies" || table.ends_with(".dependencies");
        } else if inside && !line.starts_with('#') && !(wanted == Table::Required && line.contains("optional = true")) {
            names.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names
}

fn is_command_line(path: &str) -> bool {
    let inside = path.split_once("/src/").map(|(_, inside)| inside);
    // The suite is the outermost ring: it runs the command lines as users do.
    path.starts_with("tests/")
        || path.starts_with("common/cli/")
        || inside.is_some_and(|inside| inside == "main.rs" || inside.starts_with("cli"))
}

fn is_library(path: &str) -> bool {
    path.contains("/src/") && !is_command_line(path)
}
