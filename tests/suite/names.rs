//! Checks that names are specific: no type is a bare `Plan` or `Frame`, no constant or function is a bare `part`, and a *card*
//! is a style model's metadata, never a GPU. Checks also that texts avoid phrases that readers stumbled over.

use crate::workspace;

/// Ambiguous names, which are allowed only as the end of longer names.
const BARE: [&str; 18] = [
    "Border",
    "Card",
    "Config",
    "Data",
    "Frame",
    "Info",
    "Job",
    "Options",
    "Part",
    "Parts",
    "Piece",
    "Plan",
    "Precision",
    "Source",
    "State",
    "Step",
    "Task",
    "Update",
];

/// Words that do not say what a constant or function is: a part may be a micro-batch, a process's share, a segment of a clip
/// or a chunk of a tensor. `under_way` is `in_flight`, and patience is a timeout.
const VAGUE: [&str; 4] = ["part", "parts", "patience", "under_way"];

/// Phrases that the texts of the project no longer use, because readers stumbled over them.
const STUMBLES: [&str; 12] = [
    "and that is said",
    "contradicts itself",
    "do not suffice",
    "does not suffice",
    "is there twice",
    "not a number stays",
    "numbers to multiply",
    "says not why",
    "under way",
    "were there already",
    "went astray",
    "without another word",
];

/// The crates that do not deal with a style model's card, so that "card" in them would mean a GPU.
const NO_CARDS: [&str; 3] = ["common/kernels/", "common/flow/", "common/web/"];

#[test]
fn no_type_has_an_ambiguous_name() {
    let mut found = Vec::new();
    for source in workspace::sources() {
        for (i, line) in source.text.lines().enumerate() {
            let words: Vec<_> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            let declared =
                words.windows(2).find(|pair| ["struct", "enum", "trait", "type", "union"].contains(&pair[0]));
            if declared.is_some_and(|pair| BARE.contains(&pair[1])) && !line.trim_start().starts_with("//") {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "say which:\n{}", found.join("\n"));
}

#[test]
fn no_constant_or_function_has_a_vague_name() {
    let mut found = Vec::new();
    for source in workspace::sources() {
        for (i, line) in source.text.lines().enumerate() {
            let words: Vec<_> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            let declared = words.windows(2).find(|pair| ["const", "fn", "static"].contains(&pair[0]));
            let is_vague = |pair: &[&str]| {
                let name = pair[1].to_ascii_lowercase();
                let is_function = pair[0] == "fn";
                VAGUE.contains(&name.as_str()) || (!is_function && name.split('_').any(|word| VAGUE.contains(&word)))
            };
            if declared.is_some_and(is_vague) && !line.trim_start().starts_with("//") {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "say what it is:\n{}", found.join("\n"));
}

#[test]
fn no_text_has_a_phrase_that_readers_stumbled_over() {
    let mut found = Vec::new();
    for source in workspace::sources().iter().filter(|source| !source.path.ends_with("suite/names.rs")) {
        for (i, line) in source.text.lines().enumerate() {
            let text = line.to_ascii_lowercase();
            found.extend(
                STUMBLES
                    .iter()
                    .filter(|phrase| text.contains(*phrase))
                    .map(|phrase| format!("{}:{}: {phrase}", source.path, i + 1)),
            );
        }
    }
    assert!(found.is_empty(), "say it plainly:\n{}", found.join("\n"));
}

#[test]
fn a_gpu_is_no_card() {
    let mut found = Vec::new();
    for source in workspace::sources().iter().filter(|source| NO_CARDS.iter().any(|name| source.path.starts_with(name)))
    {
        for (i, line) in source.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase);
            if words.any(|word| ["card", "cards"].contains(&word.as_str())) {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "say `GPU`:\n{}", found.join("\n"));
}
