//! The documents against the program: their commands parse, their flags, links and files exist, the map is whole.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Command;

use crate::workspace;

const DOCUMENTS: [&str; 7] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "assets/README.md",
    "datasets.md",
    "infer/API.md",
];

/// Flags of other programs that the documents mention.
const FOREIGN_FLAGS: [&str; 24] = [
    // Of pip, torchrun and srun.
    "--no-deps",
    "--target",
    "--no-python",
    "--nproc-per-node",
    "--ntasks",
    "--gpus-per-task",
    "--bench",
    "--bin",
    // Of curl.
    "--data-binary",
    // Of OBS, for the browser in it.
    "--enable-media-stream",
    "--use-fake-ui-for-media-stream",
    "--features",
    "--lib",
    "--ignored",
    "--locked",
    "--no-sign-request",
    // Of `infer/benches/peers.py`.
    "--peers",
    "--rounds",
    "--nocapture",
    "--package",
    "--path",
    "--release",
    "--test",
    "--workspace",
];

#[test]
fn every_command_in_a_document_parses() {
    let mut parsed = 0;
    for document in DOCUMENTS {
        for line in shell_lines(&workspace::read(document)) {
            let Some(words) = our_words(&line) else { continue };
            let command = programs().into_iter().find(|command| command.get_name() == words[0]).unwrap();
            if let Err(error) = command.try_get_matches_from(&words) {
                assert!(!error.use_stderr(), "{document}: `{line}` does not parse:\n{error}");
            }
            parsed += 1;
        }
    }
    assert!(parsed >= 5, "only {parsed} commands were found: the reader is broken");
}

#[test]
fn every_flag_in_a_document_exists() {
    let flags: BTreeSet<String> = programs().iter().flat_map(flags_of).collect();
    for document in DOCUMENTS {
        for flag in flags_in(&workspace::read(document)) {
            let known = flags.contains(&flag) || FOREIGN_FLAGS.contains(&flag.as_str());
            assert!(known, "{document} names `{flag}`, which no program takes");
        }
    }
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    for document in DOCUMENTS {
        let folder = workspace::root().join(document).parent().unwrap().to_path_buf();
        for link in links_in(&workspace::read(document)) {
            assert!(folder.join(&link).exists(), "{document} links to `{link}`, which is not there");
        }
    }
}

#[test]
fn every_path_in_a_document_exists() {
    for document in DOCUMENTS {
        for path in code_spans(&workspace::read(document)).filter(|span| is_own_path(span)) {
            assert!(workspace::root().join(&path).exists(), "{document} names `{path}`, which is not there");
        }
    }
}

#[test]
fn the_map_names_every_module() {
    let map = workspace::read("ARCHITECTURE.md");
    let rows: BTreeSet<_> = map.lines().filter(|line| line.starts_with("| `")).collect();
    for name in ["common", "trainer", "infer"] {
        for module in modules_of(&workspace::read(&format!("{name}/src/lib.rs"))) {
            let named = rows.iter().any(|row| {
                let names = row.split('|').nth(1).unwrap_or_default();
                names.split(',').any(|name| name.trim().trim_matches('`') == module)
            });
            assert!(named, "ARCHITECTURE.md says nothing of `{name}::{module}`");
        }
    }
}

#[test]
fn every_ignored_test_is_listed() {
    let contributing = workspace::read("CONTRIBUTING.md");
    let mut ignored = 0;
    for source in workspace::sources() {
        for after in source.text.split("\n#[ignore").skip(1) {
            let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
            assert!(contributing.contains(&format!("`{name}`")), "CONTRIBUTING.md does not list the ignored `{name}`");
            ignored += 1;
        }
    }
    assert!(ignored > 0, "no ignored test was found: the reader is broken");
}

#[test]
fn the_check_runs_the_tests_as_the_readme_does() {
    let readme = workspace::read("README.md");
    let test = "cargo test --release --workspace";
    assert!(shell_lines(&readme).any(|line| line == test));
    assert!(workspace::read(".ci/run").contains(test));
}

#[test]
fn the_readme_shows_the_example_that_is_compiled() {
    let readme = workspace::read("README.md");
    let example = readme.split("```rust").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let compiled = workspace::read("infer/src/lib.rs");
    for line in example.lines().skip(1).filter(|line| !line.is_empty()) {
        assert!(compiled.contains(&format!("//! {line}\n")), "`infer`'s documentation does not compile `{line}`");
    }
}

#[test]
fn the_readers_see_what_they_must() {
    let text = "a `--one` b\n```sh\ncargo run --release --bin infer -- styles --json  # --no\n$ x\n```\n[t](a.md) ![p](b/c.jpg) [w](https://x) [h](#h)\n";
    assert_eq!(shell_lines(text).collect::<Vec<_>>(), ["cargo run --release --bin infer -- styles --json", "$ x"]);
    assert_eq!(our_words("cargo run --release --bin infer -- styles --json").unwrap(), ["infer", "styles", "--json"]);
    assert_eq!(our_words("cargo test"), None);
    assert_eq!(links_in(text).collect::<Vec<_>>(), ["a.md", "b/c.jpg"]);
    assert_eq!(flags_in("`--a-b 3`, --c=1 and x--y").collect::<Vec<_>>(), ["--a-b", "--c"]);
    assert_eq!(modules_of("pub mod a;\nmod b;\n#[cfg(test)]\nmod c {\n"), ["a", "b"]);
}

/// The command lines that the programs themselves parse with.
fn programs() -> [Command; 2] {
    [impasto_infer::cli::command(), impasto_trainer::cli::command()]
}

fn flags_of(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long());
    let own = own.chain(["help", "version"]).map(|name| format!("--{name}"));
    own.chain(command.get_subcommands().flat_map(flags_of)).collect()
}

/// The lines of a document's shell blocks, without comments.
fn shell_lines(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned)
}

/// The words of a command that runs one of our programs, its name first.
fn our_words(line: &str) -> Option<Vec<String>> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let names = ["infer", "trainer"];
    if let Some(after) = line.strip_prefix("cargo run ") {
        let (cargo, ours) = after.split_once(" -- ")?;
        let name = names.into_iter().find(|name| cargo.split_whitespace().any(|word| word == *name))?;
        return Some(std::iter::once(name).chain(ours.split_whitespace()).map(str::to_owned).collect());
    }
    names.contains(&words.first()?.as_str()).then_some(words)
}

/// The words of a text that look like long flags.
fn flags_in(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| c.is_whitespace() || "`(),;|/".contains(c));
    let flags = words.filter_map(|word| word.strip_prefix("--"));
    let flags = flags.map(|flag| flag.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or_default());
    flags.filter(|flag| flag.starts_with(|c: char| c.is_ascii_lowercase())).map(|flag| format!("--{flag}"))
}

/// The targets of a text's links to other files.
fn links_in(text: &str) -> impl Iterator<Item = String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).map(str::to_owned)
}

/// The text between single backticks, outside blocks.
fn code_spans(text: &str) -> impl Iterator<Item = String> {
    let prose = text.split("```").step_by(2).collect::<Vec<_>>().join(" ");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Whether a code span names a file or folder of the checkout.
fn is_own_path(span: &str) -> bool {
    let first = Path::new(span).components().next();
    let first = first.map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    let own = workspace::FOLDERS.contains(&first.as_str()) || [".ci", "assets"].contains(&first.as_str());
    own && span.contains('/') && !span.contains(char::is_whitespace)
}

/// The modules that a crate's root declares in files of their own.
fn modules_of(root: &str) -> Vec<String> {
    let names = root.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    names.filter_map(|name| name.strip_suffix(';')).map(str::to_owned).collect()
}
