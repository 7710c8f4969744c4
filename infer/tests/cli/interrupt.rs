//! Ctrl-C.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::studio::{STYLE, Studio, photo};

#[test]
fn an_interrupt_leaves_only_complete_files() {
    let studio = Studio::new();
    for i in 0..400 {
        studio.save(&format!("in/{i}.png"), photo(40, 40));
    }
    let mut command = studio.command(["stylize", "in", "--style", STYLE, "-o", "out"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !studio.path("out").exists() || studio.files("out").len() < 5 {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is painted");
        sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let painted = studio.files("out");
    assert!(painted.len() < 400, "all was painted before the interrupt");
    for name in painted {
        // Opening a temporary or half-written file would end the test.
        assert_eq!(studio.open(&format!("out/{name}")).into_rgb8().dimensions(), (40, 40));
    }
}

#[test]
fn an_interrupt_while_a_file_is_written_leaves_no_temporary_file() {
    let studio = Studio::new();
    // Noise takes long to encode.
    let noise =
        |x: u32, y: u32| (x.wrapping_mul(0x9E37_79B9) ^ y.wrapping_mul(0x85EB_CA6B)).to_le_bytes()[1..].try_into();
    studio.save("in.png", image::RgbImage::from_fn(600, 400, |x, y| image::Rgb(noise(x, y).unwrap())));
    let mut command = studio.command(["stylize", "in.png", "--style", STYLE, "-o", "out/out.png"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    // The folder is created before the first byte is written.
    while !studio.path("out").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is painted");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let code = child.wait().unwrap().code();
    // Both outcomes are correct, depending on timing. A temporary file is not.
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
    let left = studio.files("out");
    assert!(left.iter().all(|name| name == "out.png") && (code == Some(130) || !left.is_empty()), "{code:?}: {left:?}");
}
