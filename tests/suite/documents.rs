//! Checks the documents against the program: commands parse; flags, links and files exist; ARCHITECTURE.md lists every
//! crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Command;

use crate::workspace;

/// The documents outside the folder `docs`.
const DOCUMENTS: [&str; 8] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "assets/README.md",
    "common/styles/README.md",
    "datasets.md",
    "infer/API.md",
];

/// The first commands of the README: paint the bundled photo, then run the tests.
const FIRST_COMMANDS: [&str; 2] = [
    "cargo run --release -p impasto-infer -- stylize assets/photo.jpg --output painted.png",
    "cargo test --release --workspace",
];

/// The most words of the README, so that it is read to the end.
const MOST_WORDS: usize = 900;

/// Documents that do not discuss a style model's card: the word "card" in them would mean a GPU.
const NO_CARDS: [&str; 5] =
    ["docs/benchmarks.md", "docs/gpu-status.md", "docs/gpu.md", "docs/painting.md", "docs/video.md"];

/// Flags of other programs that the documents mention.
const FOREIGN_FLAGS: [&str; 26] = [
    // Of pip, torchrun and srun.
    "--no-deps",
    "--target",
    "--no-python",
    "--nproc-per-node",
    "--ntasks",
    "--gpus-per-task",
    "--bench",
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
    // Of the kit for GPUs.
    "--minutes",
    "--out",
    // Of `infer/benches/peers.py`.
    "--peers",
    "--venv",
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
    for document in documents() {
        for line in shell_lines(&workspace::read(&document)) {
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
    for document in documents() {
        for flag in flags_in(&workspace::read(&document)) {
            let known = flags.contains(&flag) || FOREIGN_FLAGS.contains(&flag.as_str());
            assert!(known, "{document} names `{flag}`, which no program takes");
        }
    }
}

#[test]
fn every_link_in_a_document_has_a_target() {
    for document in documents() {
        let folder = workspace::root().join(&document).parent().unwrap().to_path_buf();
        for link in links_in(&workspace::read(&document)) {
            assert!(folder.join(&link).exists(), "{document} links to `{link}`, which is not there");
        }
    }
}

#[test]
fn every_path_in_a_document_exists() {
    for document in documents() {
        for path in code_spans(&workspace::read(&document)).filter(|span| is_own_path(span)) {
            assert!(workspace::root().join(&path).exists(), "{document} names `{path}`, which is not there");
        }
    }
}

#[test]
fn every_document_is_reached_from_the_readme() {
    let root = workspace::root().canonicalize().unwrap();
    let mut reached = BTreeSet::from([root.join("README.md")]);
    let mut waiting = vec![root.join("README.md")];
    while let Some(path) = waiting.pop() {
        for link in links_in(&fs::read_to_string(&path).unwrap()).filter(|link| is_document(link)) {
            let Ok(target) = path.parent().unwrap().join(link).canonicalize() else { continue };
            if reached.insert(target.clone()) {
                waiting.push(target);
            }
        }
    }
    for document in documents() {
        assert!(reached.contains(&root.join(&document)), "no link leads from README.md to {document}");
    }
}

#[test]
fn every_link_to_a_heading_finds_it() {
    for document in documents() {
        let path = workspace::root().join(&document);
        for (file, heading) in headings_linked_in(&workspace::read(&document)) {
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(&file) };
            let text = fs::read_to_string(&target).unwrap();
            assert!(
                anchors_of(&text).contains(&heading),
                "{document} links to `{file}#{heading}`, which is no heading"
            );
        }
    }
}

#[test]
fn a_gpu_is_no_card_in_the_documents() {
    for document in NO_CARDS {
        let text = workspace::read(document).to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        assert!(!words.any(|word| ["card", "cards"].contains(&word)), "{document} calls a GPU a card");
    }
}

#[test]
fn the_map_names_every_crate_and_no_other() {
    let map = workspace::read("ARCHITECTURE.md");
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect();
    let members: BTreeSet<_> = workspace::members().into_iter().collect();
    let missing: Vec<_> = members.difference(&named).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md says nothing of {missing:?}");
    let folders = workspace::FOLDERS.map(|folder| format!("{folder}/"));
    let like_crates = named.iter().filter(|name| folders.iter().any(|folder| name.starts_with(folder.as_str())));
    let stale: Vec<_> = like_crates.filter(|name| !members.contains(*name)).collect();
    assert!(stale.is_empty(), "ARCHITECTURE.md has rows for {stale:?}, which are no crates");
}

/// ARCHITECTURE.md describes crates. The purpose of a module is in its first line, which `cargo doc` lists.
#[test]
fn every_module_says_on_its_first_line_what_it_is_for() {
    let mut seen = 0;
    for member in workspace::members() {
        let source = workspace::root().join(&member).join("src");
        let Ok(root) = fs::read_to_string(source.join("lib.rs")) else { continue };
        assert!(root.starts_with("//! "), "`{member}/src/lib.rs` does not say what the crate is for");
        for module in modules_of(&root).into_iter().filter(|module| module != "tests") {
            let text = fs::read_to_string(source.join(format!("{module}.rs"))).unwrap();
            assert!(text.starts_with("//! "), "`{member}/src/{module}.rs` does not say what it is for");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} modules were found: the reader is broken");
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
fn the_readme_begins_with_two_commands_that_work_in_a_fresh_checkout() {
    let readme = workspace::read("README.md");
    let block = readme.split("```").nth(1).and_then(|block| block.strip_prefix("sh\n")).unwrap();
    assert_eq!(block.lines().collect::<Vec<_>>(), FIRST_COMMANDS);
    let [paint, test] = FIRST_COMMANDS;
    for word in paint.split_whitespace().filter(|word| word.starts_with("assets/")) {
        assert!(workspace::root().join(word).exists(), "`{word}` is not there to be painted");
    }
    assert!(workspace::read(".ci/run").contains(test), "the check runs other tests than the README");
}

#[test]
fn the_readme_is_short() {
    let words = workspace::read("README.md").split_whitespace().count();
    assert!(words <= MOST_WORDS, "README.md has {words} words; move some to `docs`");
}

#[test]
fn the_documents_show_the_example_that_is_compiled() {
    let compiled = workspace::read("infer/src/lib.rs");
    for document in ["README.md", "docs/painting.md"] {
        let text = workspace::read(document);
        let example = text.split("```rust").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        for line in example.lines().skip(1).filter(|line| !line.is_empty()) {
            let is_compiled = compiled.contains(&format!("//! {line}\n"));
            assert!(is_compiled, "{document}: `infer`'s documentation does not compile `{line}`");
        }
    }
}

#[test]
fn the_readers_see_what_they_must() {
    let command = "cargo run --release -p impasto-infer -- styles --json";
    let text = format!(
        "a `--one` b\n```sh\n{command}  # --no\ninfer \\\n  styles\n```\n[t](a.md#b) ![p](b/c.jpg) [w](https://x#y) [h](#h)\n# The `x`, y\n"
    );
    let text = text.as_str();
    assert_eq!(shell_lines(text).collect::<Vec<_>>(), [command, "infer   styles"]);
    assert_eq!(our_words(command).unwrap(), ["infer", "styles", "--json"]);
    let pairs = [("a.md", "b"), ("", "h")].map(|(file, heading)| (file.to_owned(), heading.to_owned()));
    assert_eq!(headings_linked_in(text).collect::<Vec<_>>(), pairs);
    assert_eq!(anchors_of(text), ["the-x-y"]);
    assert_eq!(our_words("cargo test"), None);
    assert_eq!(links_in(text).collect::<Vec<_>>(), ["a.md", "b/c.jpg"]);
    assert_eq!(flags_in("`--a-b 3`, --c=1 and x--y").collect::<Vec<_>>(), ["--a-b", "--c"]);
    assert_eq!(modules_of("pub mod a;\nmod b;\n#[cfg(test)]\nmod c {\n"), ["a", "b"]);
}

/// The clap definitions of the programs.
fn programs() -> [Command; 2] {
    [impasto_infer::cli::command(), impasto_trainer::cli::command()]
}

/// Every document, from the top of the checkout with `/`.
fn documents() -> Vec<String> {
    let names = fs::read_dir(workspace::root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| format!("docs/{}", name.to_string_lossy()));
    let mut documents: Vec<_> = DOCUMENTS.into_iter().map(str::to_owned).chain(names).collect();
    documents.retain(|name| is_document(name));
    documents.sort();
    assert!(documents.len() > DOCUMENTS.len(), "the folder `docs` is empty");
    documents
}

fn is_document(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

fn flags_of(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long());
    let own = own.chain(["help", "version"]).map(|name| format!("--{name}"));
    own.chain(command.get_subcommands().flat_map(flags_of)).collect()
}

/// The lines of a document's shell blocks, without comments.
fn shell_lines(text: &str) -> impl Iterator<Item = String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(|block| block.replace("\\\n", "").lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    lines.filter(|line| !line.is_empty())
}

/// The words of a command that runs one of our programs, its name first.
fn our_words(line: &str) -> Option<Vec<String>> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let names = ["infer", "trainer"];
    if let Some(after) = line.strip_prefix("cargo run ") {
        let (cargo, ours) = after.split_once(" -- ")?;
        let package = |name: &str| format!("impasto-{name}");
        let name = names.into_iter().find(|name| cargo.split_whitespace().any(|word| word == package(name)))?;
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

/// The links of a text to headings of our documents: the file, empty for the text itself, and the heading's anchor.
fn headings_linked_in(text: &str) -> impl Iterator<Item = (String, String)> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.contains("://")).filter_map(|target| target.split_once('#'));
    targets.map(|(file, heading)| (file.to_owned(), heading.to_owned()))
}

/// The anchors that GitHub makes of a text's headings.
fn anchors_of(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_matches('#').trim());
    let kept = headings.map(|heading| heading.to_lowercase().replace(' ', "-"));
    kept.map(|heading| heading.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")).collect()
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
    let own =
        workspace::FOLDERS.contains(&first.as_str()) || [".ci", "assets", "docs", "tools"].contains(&first.as_str());
    own && span.contains('/') && !span.contains(char::is_whitespace)
}

/// The modules that a crate's root declares in files of their own.
fn modules_of(root: &str) -> Vec<String> {
    let names = root.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    names.filter_map(|name| name.strip_suffix(';')).map(str::to_owned).collect()
}
