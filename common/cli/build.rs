//! Finds the commit that is built, for `--version`. Without git, or outside the project's own repository, there is none.

use std::path::Path;
use std::process::Command;

fn main() {
    // Without any such line, every changed file would run this again.
    println!("cargo::rerun-if-changed=build.rs");
    // A source archive that is unpacked inside some other repository is not part of it.
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_none() {
        return;
    }
    if let Some(commit) = git(&["rev-parse", "--short=8", "HEAD"]) {
        println!("cargo::rustc-env=IMPASTO_COMMIT={commit}");
    }
    watch_head();
}

/// Runs this again once another commit is checked out, or a new one made.
fn watch_head() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // A file that is missing would count as changed in every build.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// What git prints, unless it fails or is not there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
