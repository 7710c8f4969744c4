//! Clips whose painting was killed, and whose finished parts may be damaged: `--resume` gives the frames of an uninterrupted run.
#![cfg(unix)]

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::studio::{STYLE, Studio};
use crate::video::{NTSC, TONE, ffmpeg, frames, studio};

/// The finished parts of `out.mp4`.
fn segment_names(studio: &Studio) -> Vec<String> {
    let files = if studio.path("out.mp4.parts").exists() { studio.files("out.mp4.parts") } else { Vec::new() };
    files.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).collect()
}

/// Paints `in.mp4` into `out.mp4` and kills the program when it has finished this many parts.
fn kill_behind(studio: &Studio, count: usize, options: &[&str]) {
    let line = ["stylize", "in.mp4", "--style", STYLE, "-o", "out.mp4", "--resume"];
    let mut child = studio.command(line.iter().chain(options)).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while segment_names(studio).len() < count {
        assert!(started.elapsed() < Duration::from_secs(240), "nothing is painted");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_steady_clip_that_is_killed_goes_on_to_the_very_frames() {
    let Some(studio) = studio() else { return };
    // A scene that moves, with noise that makes strokes change.
    let source = "-f lavfi -i testsrc2=size=96x72:rate=30 -vf noise=alls=12:allf=t";
    ffmpeg(&studio, &format!("{source} -t 13 -pix_fmt yuv420p in.mp4"));
    studio.stylize("in.mp4 -o whole.mp4 --stabilize");
    studio.stylize("in.mp4 -o plain.mp4");
    assert_ne!(frames(&studio, "whole.mp4"), frames(&studio, "plain.mp4"), "nothing is held still");
    kill_behind(&studio, 1, &["--stabilize"]);
    assert!(studio.files("out.mp4.parts").iter().any(|name| name.starts_with("memory_")));
    kill_behind(&studio, 2, &["--stabilize"]);
    let run = studio.stylize("in.mp4 -o out.mp4 --stabilize --resume");
    assert!(!run.stderr.contains("painted again"), "{}", run.stderr);
    assert_eq!(frames(&studio, "out.mp4"), frames(&studio, "whole.mp4"));
    assert!(!studio.path("out.mp4.parts").exists());
}

#[test]
fn a_steady_clip_whose_memory_is_lost_starts_again_to_the_very_frames() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=96x72:rate=30 -t 9 -pix_fmt yuv420p in.mp4");
    studio.stylize("in.mp4 -o whole.mp4 --stabilize");
    kill_behind(&studio, 1, &["--stabilize"]);
    for name in studio.files("out.mp4.parts").iter().filter(|name| name.starts_with("memory_")) {
        studio.write(&format!("out.mp4.parts/{name}"), b"not what was written");
    }
    let run = studio.stylize("in.mp4 -o out.mp4 --stabilize --resume");
    assert!(run.stderr.contains("memory of frame 125 is missing or damaged"), "{}", run.stderr);
    assert_eq!(frames(&studio, "out.mp4"), frames(&studio, "whole.mp4"));
}

#[test]
fn a_part_that_was_cut_emptied_or_changed_is_painted_again() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} {TONE} -s 96x72 -t 12 -pix_fmt yuv420p -c:a aac in.mp4"));
    studio.stylize("in.mp4 -o whole.mp4");
    kill_behind(&studio, 2, &[]);
    let kept: Vec<_> = studio.files("out.mp4.parts").into_iter().map(|name| format!("out.mp4.parts/{name}")).collect();
    let kept: Vec<_> = kept.into_iter().map(|name| (fs::read(studio.path(&name)).unwrap(), name)).collect();
    let [_, second] = &segment_names(&studio)[..] else { panic!("{:?}", segment_names(&studio)) };
    let second = format!("out.mp4.parts/{second}");
    let bytes = fs::read(studio.path(&second)).unwrap();
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 0x10;
    for damage in [&bytes[..bytes.len() / 2], &[], &changed] {
        for (bytes, name) in &kept {
            studio.write(name, bytes);
        }
        studio.write(&second, damage);
        let run = studio.stylize("in.mp4 -o out.mp4 --resume");
        assert!(run.stderr.contains("is damaged; the frames from 125 on are painted again"), "{}", run.stderr);
        assert_eq!(frames(&studio, "out.mp4"), frames(&studio, "whole.mp4"));
        assert!(!studio.path("out.mp4.parts").exists());
    }
}
