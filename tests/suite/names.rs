//! Checks that names are specific: no type is a bare `Plan` or `Frame`, and a *card* is a style model's metadata, never a
//! GPU.

use crate::workspace;

/// Ambiguous names, which are allowed only as the end of longer names.
const BARE: [&str; 9] = ["Card", "Frame", "Job", "Part", "Parts", "Plan", "Precision", "Source", "Step"];

/// The crates that do not deal with a style model's card, so that "card" in them would mean a GPU.
const NO_CARDS: [&str; 3] = ["common/kernels/", "common/flow/", "common/web/"];

#[test]
fn no_type_has_a_name_that_could_be_anybodys() {
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
