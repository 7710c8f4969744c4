//! Arrows point down only: `tests -> {trainer, infer} -> common`. This file reads the manifests and the sources, so a
//! shortcut fails here with its file and line instead of being found by a reader a year later.

use crate::workspace::{self, Source};

/// The keyword, spelt in two parts so that this file passes its own test.
const UNSAFE: &str = concat!("un", "safe");
/// The file names that say nothing of what is inside.
const DRAWERS: [&str; 4] = ["base.rs", "helpers.rs", "mod.rs", "utils.rs"];

#[test]
fn manifests_point_down_only() {
    for (name, forbidden) in
        [("common", ["trainer", "infer"]), ("infer", ["trainer", "tests"]), ("trainer", ["infer", "tests"])]
    {
        let dependencies = dependencies(&workspace::read(&format!("{name}/Cargo.toml")));
        assert!(!dependencies.is_empty(), "no dependency of `{name}` was found: the reader is broken");
        for other in forbidden {
            let package = format!("impasto-{other}");
            let found = dependencies.iter().any(|dependency| dependency == other || *dependency == package);
            assert!(!found, "`{name}` must not depend on `{other}`");
        }
    }
    let common = dependencies(&workspace::read("common/Cargo.toml"));
    assert!(!common.iter().any(|dependency| dependency == "clap"), "`common` parses no arguments");
}

#[test]
fn versions_are_given_once_in_the_root_manifest() {
    for name in workspace::CRATES {
        let manifest = workspace::read(&format!("{name}/Cargo.toml"));
        let strays: Vec<_> = manifest.lines().filter(|line| line.contains("version = \"")).collect();
        assert!(strays.is_empty(), "`{name}/Cargo.toml` gives its own version: {strays:?}");
    }
}

#[test]
fn sources_never_reach_up_or_sideways() {
    assert_clean(|path| match path.split('/').next() {
        Some("common") => &["trainer", "infer"],
        Some("trainer") => &["infer"],
        Some("infer") => &["trainer"],
        _ => &[],
    });
}

#[test]
fn only_the_command_line_layers_know_clap() {
    assert_clean(|path| if is_command_line(path) { &[] } else { &["clap"] });
}

#[test]
fn only_the_kernels_are_unsafe() {
    assert_clean(|path| if path.starts_with("common/src/kernels") { &[] } else { &[UNSAFE] });
}

#[test]
fn libraries_neither_print_nor_exit() {
    let calls = &["println", "eprintln", "print", "eprint", "dbg", "exit"];
    assert_clean(|path| if is_library(path) { calls } else { &[] });
}

#[test]
fn no_file_is_a_drawer() {
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
    for seen in [
        "use clap::Parser;",
        "    std::process::exit(1);",
        "let x = impasto_trainer::run();",
        "pub use trainer;",
        "exit (2)",
    ] {
        assert_eq!(offences(&source(seen), &words).len(), 1, "{seen}");
    }
    let unseen =
        ["// use clap::Parser;", "/// see clap::Parser", "\"clap::Parser\"", "let clapper = 1; // clap::", "self.exit"];
    for unseen in unseen {
        assert_eq!(offences(&source(unseen), &words), Vec::<String>::new(), "{unseen}");
    }
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n[target.'cfg(unix)'.dependencies]\nc = { x = 1 }\n[dev-dependencies.d]\npath = \"d\"\n[lints]\ne = 1\n";
    assert_eq!(dependencies(manifest), ["a", "b", "c", "d"]);
}

fn source(text: &str) -> Source {
    Source { path: "synthetic.rs".into(), text: text.into() }
}

/// Fails with every line of the workspace in which a word that `forbidden` gives for its path is used.
fn assert_clean(forbidden: impl Fn(&str) -> &'static [&'static str]) {
    let sources = workspace::sources();
    assert!(sources.len() > 10, "only {} sources were found: the reader is broken", sources.len());
    let found: Vec<_> = sources.iter().flat_map(|source| offences(source, forbidden(&source.path))).collect();
    assert!(found.is_empty(), "not allowed here:\n{}", found.join("\n"));
}

/// The lines of `source` that use one of `words` as a crate, a keyword, a macro or a function, with their places.
fn offences(source: &Source, words: &[&str]) -> Vec<String> {
    let lines = source.text.lines().enumerate().map(|(i, line)| (i, code_of(line)));
    let found = lines.filter(|(_, code)| words.iter().any(|word| uses(code, word)));
    found.map(|(i, code)| format!("{}:{}: {}", source.path, i + 1, code.trim())).collect()
}

/// A line without its comment and without the contents of its string literals.
///
/// A literal that spans lines is read as code from its second line on: none of the words above stands in one.
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

/// Whether `word` stands in `code` as a whole word that is not a field, and, unless it is a keyword, is called or
/// reached through: `word::`, `word!`, `word(`, `use word`.
fn uses(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let before = &code[..start];
        let after = code[start + word.len()..].trim_start();
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || "_.".contains(c))
            && !code[start + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let reached = ["::", "!", "("].iter().any(|mark| after.starts_with(mark)) || before.trim_end().ends_with("use");
        whole && (word == UNSAFE || reached)
    })
}

/// The names in a manifest's tables of dependencies, sorted.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = table.ends_with("dependencies");
            names.extend(table.split_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if inside && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    names.sort();
    names
}

fn is_command_line(path: &str) -> bool {
    let inside = path.split_once("/src/").map(|(_, inside)| inside);
    // The suite is the fourth ring: it drives the command lines as their users do.
    path.starts_with("tests/") || path.starts_with("common/cli/") || inside.is_some_and(|inside| inside == "main.rs" || inside.starts_with("cli"))
}

fn is_library(path: &str) -> bool {
    path.contains("/src/") && !is_command_line(path)
}
