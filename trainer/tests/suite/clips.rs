//! `trainer evaluate-clip`, run from the command line.

use std::process::{Command, Stdio};

use image::{Rgb, RgbImage};

use crate::fixture::Fixture;

/// A disc that moves over stripes. The painted version has its colours rotated, and every other frame is darker by `flicker`
/// levels.
fn frame(i: u32, painted: bool, flicker: u8) -> RgbImage {
    RgbImage::from_fn(80, 64, |x, y| {
        let inside = (x as i32 - 20 - 3 * i as i32).pow(2) + (y as i32 - 30).pow(2) < 200;
        let base = if inside {
            [200, 60 + (3 * (x + y) % 90) as u8, 80]
        } else {
            [(x * 7 % 97) as u8 + 60, (y * 5 % 83) as u8 + 50, 120]
        };
        let darker = |level: u8| level - if i % 2 == 1 { flicker } else { 0 };
        let [r, g, b] = base.map(darker);
        Rgb(if painted { [b, r, g] } else { [r, g, b] })
    })
}

#[test]
fn evaluate_clip_tells_a_calm_clip_from_one_that_flickers() {
    let fixture = Fixture::new();
    for (name, painted, flicker) in [("clip", false, 0), ("calm", true, 0), ("flicker", true, 30)] {
        std::fs::create_dir(fixture.path(name)).unwrap();
        for i in 0..4 {
            frame(i, painted, flicker).save(fixture.path(name).join(format!("{i}.png"))).unwrap();
        }
    }
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.current_dir(fixture.path("")).args(["evaluate-clip", "--clip", "clip", "--quiet"]).args(more);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let paintings = ["--painted", "flicker", "--painted", "calm"];
    let losses = ["--style", "style.png", "--loss-weights", "vgg.safetensors", "--loss-every", "2", "--json"];
    let output = run(&[&paintings[..], &losses[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = |clip: &serde_json::Value| clip["warping_error"].as_f64().unwrap();
    let (flicker, calm) = (error(&json["painted"][0]), error(&json["painted"][1]));
    // Three channels, 30 levels.
    assert!(flicker > 2.0 * (30.0f64 / 255.0).powi(2) && calm < 0.1 * flicker, "{json:#}");
    assert!(
        json["original"]["losses"]["content"].as_f64().unwrap() < 1e-6,
        "the original is its own content: {json:#}"
    );
    assert!(json["painted"][1]["losses"]["style"].as_f64().unwrap() > 0.0);
    assert_eq!((json["frames"].as_u64(), json["width"].as_u64()), (Some(4), Some(80)));

    let output = run(&paintings);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.starts_with("4 frames of 80x64, ") && table.lines().count() == 5 && !table.contains("style"),
        "{table}"
    );
    let output = run(&["--painted", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`nowhere`"));
}
