//! The version as `--version` prints it.

use std::sync::OnceLock;

use impasto_kernels::machine::instructions;

/// The version of the release, with the commit if it is known, and the vector instruction set that is used on this machine:
/// `0.1.0 (4f2a9c1d, AVX-512)`.
#[must_use]
pub fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| text(env!("CARGO_PKG_VERSION"), option_env!("IMPASTO_COMMIT"), instructions()))
}

fn text(release: &str, commit: Option<&str>, instructions: &str) -> String {
    match commit {
        Some(commit) => format!("{release} ({commit}, {instructions})"),
        None => format!("{release} ({instructions})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_commit_if_there_is_one_and_the_instructions() {
        assert_eq!(text("0.1.0", Some("4f2a9c1d"), "AVX-512"), "0.1.0 (4f2a9c1d, AVX-512)");
        assert_eq!(text("0.1.0", None, "portable"), "0.1.0 (portable)");
        assert!(version().starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")) && version().contains(instructions()));
    }
}
