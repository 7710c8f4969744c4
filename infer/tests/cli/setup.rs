//! The version, manual pages and shell completions.

use crate::studio::Studio;

const COMMANDS: [&str; 7] = ["stylize", "styles", "info", "bench", "serve", "completions", "man"];

#[test]
fn the_version_names_the_release_and_the_instructions_in_use() {
    let run = Studio::new().run("--version");
    let text = String::from_utf8(run.stdout).unwrap();
    let (release, rest) = text.trim_end().split_once(" (").unwrap();
    assert_eq!(release, concat!("infer ", env!("CARGO_PKG_VERSION")));
    assert!(rest.ends_with(&format!("{})", impasto_kernels::machine::instructions())), "{text}");
}

#[test]
fn completions_and_manual_pages_mention_every_command() {
    let studio = Studio::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = studio.run(&format!("completions {shell}"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        let script = String::from_utf8(run.stdout).unwrap();
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
        assert!(script.contains("max-size"), "{shell}");
    }
    let run = studio.run("man share/man1");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let pages = studio.files("share/man1");
    assert!(COMMANDS.iter().all(|command| pages.contains(&format!("infer-{command}.1"))), "{pages:?}");
    let page = std::fs::read_to_string(studio.path("share/man1/infer.1")).unwrap();
    assert!(COMMANDS.iter().all(|command| page.contains(&format!("infer\\-{command}(1)"))), "{page}");
    let run = studio.run("completions tcsh");
    assert!(run.code == Some(2) && run.stderr.contains("bash"), "{}", run.stderr);
}
