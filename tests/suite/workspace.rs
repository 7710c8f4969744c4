//! The checkout under test: where it is, and the Rust sources in it.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders at the top level that hold the crates of the workspace.
pub(crate) const FOLDERS: [&str; 4] = ["common", "infer", "tests", "trainer"];

/// The folders of the crates, as the root manifest lists them.
pub(crate) fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, list) = manifest.split_once("members = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The top folder of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Reads a file of the checkout, named from its top with `/`.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read `{path}`: {error}"))
}

/// A Rust source: its path from the top with `/`, and its text.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every Rust source of the workspace, sorted by path.
pub(crate) fn sources() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    for name in FOLDERS {
        collect_sources(&root().join(name), &mut paths);
    }
    paths.sort();
    paths.into_iter().map(|path| read_source(&path)).collect()
}

fn collect_sources(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A build inside a member's folder leaves generated code, which is not checked.
        if path.is_dir() && !path.ends_with("target") {
            collect_sources(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read_source(path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).unwrap();
    let parts = path.strip_prefix(root()).unwrap().components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    SourceFile { path: parts.join("/"), text }
}
