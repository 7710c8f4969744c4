//! The help texts are part of the interface. A change of one appears in review as a change of a file in
//! `tests/golden/help`.
//!
//! `UPDATE_GOLDEN=1` rewrites them and still fails, so that an update is never accidental.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Command;

use crate::workspace;

#[test]
fn help_texts_are_the_stored_ones() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut expected = BTreeSet::new();
    let mut changed = Vec::new();
    for (name, text) in
        [impasto_infer::cli::command(), impasto_trainer::cli::command()].into_iter().flat_map(help_texts)
    {
        let path = golden().join(format!("{name}.txt"));
        let stored = fs::read_to_string(&path).unwrap_or_default();
        if stored != text {
            if update {
                fs::create_dir_all(golden()).unwrap();
                fs::write(&path, &text).unwrap();
            }
            changed.push(format!("{name}: {}", first_difference(&stored, &text)));
        }
        expected.insert(path);
    }
    let stored = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    changed
        .extend(stored.filter(|path| !expected.contains(path)).map(|path| format!("{} is of no use", path.display())));
    assert!(changed.is_empty(), "help texts differ (`UPDATE_GOLDEN=1` rewrites them):\n{}", changed.join("\n"));
}

#[test]
fn the_command_line_definitions_are_consistent() {
    impasto_infer::cli::command().debug_assert();
    impasto_trainer::cli::command().debug_assert();
}

/// The help of a program and of each of its commands, under names such as `infer-stylize`.
fn help_texts(mut program: Command) -> Vec<(String, String)> {
    program.build();
    let mut texts = vec![(program.get_name().to_owned(), help_text(&program))];
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        texts.push((format!("{}-{}", program.get_name(), command.get_name()), help_text(command)));
    }
    texts
}

/// The long help at a width that does not depend on the terminal.
fn help_text(command: &Command) -> String {
    let text = command.clone().term_width(100).render_long_help().to_string();
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn first_difference(stored: &str, text: &str) -> String {
    let mut lines = text.lines();
    let differs = stored.lines().find(|line| lines.next() != Some(*line));
    differs.map_or_else(|| "lines are new".into(), |line| format!("`{line}` has changed"))
}

fn golden() -> PathBuf {
    workspace::root().join("tests/golden/help")
}
