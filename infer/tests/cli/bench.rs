//! `infer bench`: the structure of its output. The speed of this machine is not tested.

use impasto_common::styles::BUNDLED;
use serde_json::Value;

use crate::studio::{STYLE, Studio};

fn json(studio: &Studio, line: &str) -> Value {
    let run = studio.run(&format!("bench --runs 1 --json {line}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn json_has_the_machine_and_every_network_at_every_size() {
    let studio = Studio::new();
    let report = json(&studio, &format!("--style {STYLE} --presets xs,s --sizes 12x8,5x9 --threads 1"));
    assert_eq!(report["machine"]["threads"], 1);
    assert!(report["machine"]["peak_gflops"].as_f64().unwrap() > 0.0);
    assert!(report["machine"]["instructions"].is_string() && report["version"].is_string());
    let measurements = report["measurements"].as_array().unwrap();
    let found: Vec<_> = measurements
        .iter()
        .map(|found| format!("{} {}x{}", found["network"].as_str().unwrap(), found["width"], found["height"]))
        .collect();
    assert_eq!(found, ["tiny 12x8", "tiny 5x9", "xs 12x8", "xs 5x9", "s 12x8", "s 5x9"]);
    for found in measurements {
        assert_eq!(found["runs"], 1);
        for name in ["cold_ms", "fastest_ms", "median_ms", "frames_per_second", "gflop", "gflops", "fraction_of_peak"] {
            assert!(found[name].as_f64().unwrap() > 0.0, "{name} in {found}");
        }
        let memory = &found["peak_memory_bytes"];
        assert!(memory.is_null() || memory.as_u64().unwrap() > 0, "{found}");
    }
}

#[test]
fn the_table_goes_to_standard_output_and_messages_to_standard_error() {
    let studio = Studio::new();
    let run = studio.run(&format!("bench --style {STYLE} --sizes 12x8,5x9 --seconds 0"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = String::from_utf8(run.stdout).unwrap();
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(text.lines().next().unwrap().contains(", peak "), "{text}");
    assert_eq!(rows[2][..3], ["network", "size", "median"]);
    assert_eq!((rows[3][..2].concat(), rows[4][..2].concat()), ("tiny12x8".into(), "tiny5x9".into()));
    assert_eq!(rows.len(), 5, "{text}");
    assert!(run.stderr.contains("measured in "), "{}", run.stderr);
    assert_eq!(studio.files(""), [STYLE]);
}

#[test]
fn quiet_is_silent_on_standard_error() {
    let studio = Studio::new();
    let run = studio.run("bench --presets xs,s --sizes 8x8 --runs 1 --quiet");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(!run.stdout.is_empty());
}

#[test]
fn without_a_network_the_default_style_is_measured() {
    let report = json(&Studio::new(), "--sizes 9x9");
    assert_eq!(report["measurements"].as_array().unwrap().len(), 1);
    assert_eq!(report["measurements"][0]["network"], BUNDLED[0].name);
}

#[test]
fn invalid_values_and_unknown_styles_are_refused() {
    let studio = Studio::new();
    for (line, word) in [
        ("bench --sizes 512", "expected WIDTHxHEIGHT"),
        ("bench --presets xl", "expected `l`, `m`, `s` or `xs`"),
        ("bench --style nowhere", "neither a bundled style nor a file named `nowhere`"),
    ] {
        let run = studio.run(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(word) && run.stdout.is_empty(), "{line}: {}", run.stderr);
    }
}
