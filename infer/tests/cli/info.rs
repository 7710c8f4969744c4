//! `infer info` and `infer styles`.

use impasto_common::styles::BUNDLED;
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
    assert!(text.contains("preset:     own (2 channels, 1 residual blocks)\n"), "{text}");
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
