//! Manual pages and shell completions.

use std::process::Command;

#[test]
fn completions_and_manual_pages_mention_every_command() {
    let commands = ["train", "optimize", "evaluate", "evaluate-clip", "interpolate", "completions", "man"];
    let trainer = || Command::new(env!("CARGO_BIN_EXE_trainer"));
    let script = String::from_utf8(trainer().args(["completions", "bash"]).output().unwrap().stdout).unwrap();
    let home = tempfile::tempdir().unwrap();
    assert!(trainer().arg("man").arg(home.path()).status().unwrap().success());
    for command in commands {
        assert!(script.contains(command), "{command}");
        assert!(home.path().join(format!("trainer-{command}.1")).exists(), "{command}");
    }
}
