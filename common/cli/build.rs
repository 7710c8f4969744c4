//! Finds the commit that is built, for `--version`. There is none without git or outside the project's own repository.

use std::path::Path;
use std::process::Command;

fn main() {
    // Without such a line, this script would run again after any changed file.
    println!("cargo::rerun-if-changed=build.rs");
    // A source archive may be unpacked inside another repository, of which it is not a part.
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_none() {
        return;
    }
    if let Some(commit) = git(&["rev-parse", "--short=8", "HEAD"]) {
        println!("cargo::rustc-env=IMPASTO_COMMIT={commit}");
    }
    watch_head();
}

/// Runs this script again after another commit is checked out or created.
fn watch_head() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // A missing file would count as changed in every build.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// The output of git, or `None` if it fails or is not installed.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
