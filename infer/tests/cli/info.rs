//! `infer info` and `infer styles`.

use impasto_common::model_file::StyleModel;
use impasto_common::styles::BUNDLED;
use impasto_common::weights::StoredType;
use serde_json::Value;

use crate::studio::{STYLE, Studio, tiny_style};

#[test]
fn info_shows_the_card_and_counts_the_parameters() {
    let studio = Studio::new();
    let run = studio.run(&format!("info {STYLE} --json"));
    let shown: Value = serde_json::from_slice(&run.stdout).unwrap();
    let parameters: usize = tiny_style().tensors.values().map(|array| array.values().len()).sum();
    assert_eq!(shown["name"], "tiny");
    assert_eq!(shown["source"], "a hash");
    assert_eq!(shown["parameters"], parameters);
    assert_eq!(shown["network"]["channels"], 2);
    assert_eq!(shown["preset"], Value::Null);
    assert_eq!(shown["bytes"], std::fs::metadata(studio.path(STYLE)).unwrap().len());
    let text = String::from_utf8(studio.run(&format!("info {STYLE}")).stdout).unwrap();
    assert!(text.contains("name:       tiny\n"), "{text}");
    assert!(text.contains("preset:     custom (2 channels, 1 residual blocks)\n"), "{text}");
}

/// Clears the screen and sets the window title, each in two ways, because C1 characters are also commands.
const ESCAPES: &str = "a\u{1b}[2J\u{1b}]0;pwn\u{7}b\u{9b}2J\nname: forged";

#[test]
fn control_characters_of_a_card_are_escaped_for_the_terminal() {
    let studio = Studio::new();
    let StyleModel { mut card, tensors } = tiny_style();
    card.name = ESCAPES.into();
    card.command = Some(ESCAPES.into());
    StyleModel { card, tensors }.save(&studio.path("x.safetensors"), StoredType::F32).unwrap();
    let text = String::from_utf8(studio.run("info x.safetensors").stdout).unwrap();
    assert!(text.contains(r"name:       a\u001b[2J\u001b]0;pwn\u0007b\u009b2J\nname: forged"), "{text}");
    let json = String::from_utf8(studio.run("info x.safetensors --json").stdout).unwrap();
    for shown in [&text, &json] {
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["name"], ESCAPES);
}

#[test]
fn styles_lists_every_bundled_style_with_its_card() {
    let studio = Studio::new();
    let run = studio.run("styles --json");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let shown: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
    let names: Vec<_> = shown.iter().map(|style| style["name"].as_str().unwrap()).collect();
    assert_eq!(names, BUNDLED.iter().map(|style| style.name).collect::<Vec<_>>());
    assert!(shown.iter().all(|style| style["licence"].is_string() && style["command"].is_string()));
    let text = String::from_utf8(studio.run("styles").stdout).unwrap();
    assert!(names.iter().all(|name| text.contains(name)), "{text}");
}
