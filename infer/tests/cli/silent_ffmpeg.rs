//! An ffmpeg or ffprobe that hangs or was stopped is ended, and the error says so.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::studio::{STYLE, Studio};
use crate::video::{ffmpeg, frames, studio};

/// Seconds of silence that the program puts up with in these tests.
const LIMIT: &str = "2";

fn stylize(studio: &Studio) -> Command {
    let mut command = studio.command(["stylize", "in.mp4", "--style", STYLE, "-o", "out.mp4", "--resume"]);
    command.env("IMPASTO_FFMPEG_TIMEOUT", LIMIT).stderr(Stdio::piped());
    command
}

#[test]
fn a_program_that_never_answers_is_not_waited_for() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=64x48:rate=25 -t 1 -pix_fmt yuv420p in.mp4");
    let path = std::env::var("PATH").unwrap();
    // The script's own child would hold its pipes open.
    let answer = "#!/bin/sh\n[ \"$1\" = -version ] && exec REAL \"$@\"\n";
    for (name, script) in [
        ("ffprobe", "#!/bin/sh\nsleep 300\n".to_owned()),
        ("ffmpeg", "#!/bin/sh\nsleep 300\n".to_owned()),
        ("ffprobe", format!("{answer}sleep 300\n")),
        ("ffmpeg", format!("{answer}cat > /dev/null\nsleep 300\n")),
    ] {
        let real = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists()).unwrap();
        let _ = fs::remove_dir_all(studio.path("bin"));
        studio.write(&format!("bin/{name}"), script.replace("REAL", real.to_str().unwrap()).as_bytes());
        fs::set_permissions(studio.path("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        let started = Instant::now();
        let mut command = stylize(&studio);
        let output = command.env("PATH", format!("{}:{path}", studio.path("bin").display())).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(started.elapsed() < Duration::from_secs(60), "{name}: {:?}", started.elapsed());
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains(&format!("cannot wait for `{name}`: it did nothing for {LIMIT} s and was ended")));
        assert!(text.contains("set IMPASTO_FFMPEG_TIMEOUT"), "{text}");
    }
}

#[test]
fn a_decoder_or_encoder_that_is_stopped_ends_the_clip_and_resume_continues() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=160x120:rate=30 -t 14 -pix_fmt yuv420p in.mp4");
    studio.stylize("in.mp4 -o whole.mp4");
    for wanted in ["rawvideo", "matroska"] {
        let child = stylize(&studio).spawn().unwrap();
        let started = Instant::now();
        // Those of the trial end before there is anything to paint.
        let found = loop {
            assert!(started.elapsed() < Duration::from_secs(60), "no {wanted}");
            let parts = if studio.path("out.mp4.parts").exists() { studio.files("out.mp4.parts") } else { Vec::new() };
            let paints = parts.iter().any(|name| name.starts_with("unfinished"));
            if let Some(found) = children(child.id()).into_iter().find(|(_, line)| paints && line.contains(wanted)) {
                break found.0;
            }
            sleep(Duration::from_millis(5));
        };
        assert!(Command::new("kill").args(["-STOP", &found.to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{wanted}: {text}");
        assert!(text.contains(&format!("`ffmpeg`: it did nothing for {LIMIT} s")), "{wanted}: {text}");
        assert!(started.elapsed() < Duration::from_secs(90), "{wanted}: {:?}", started.elapsed());
    }
    studio.stylize("in.mp4 -o out.mp4 --resume");
    assert_eq!(frames(&studio, "out.mp4"), frames(&studio, "whole.mp4"));
}

/// The children of a process, with their command lines.
fn children(process: u32) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    // The threads of a process have children of their own.
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let ids: Vec<u32> =
        lists.flat_map(|list| list.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
    let line = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.iter().map(|id| (*id, line(id))).collect()
}
