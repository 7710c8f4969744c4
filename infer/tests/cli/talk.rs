//! Standard error may fail, and the reader of standard output may close the pipe.

use std::io::{Write, pipe};
use std::process::{Output, Stdio};

use impasto_video::{Color, Ratio, RawStreamInfo, Y4mWriter};

use crate::studio::{STYLE, Studio, photo};

/// The writing end of a pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

fn run_with_stderr(studio: &Studio, line: &str, stderr: Stdio) -> Output {
    studio.command(line.split(' ')).stdin(Stdio::null()).stderr(stderr).output().unwrap()
}

#[test]
fn painting_continues_if_standard_error_cannot_be_written() {
    let studio = Studio::new();
    for name in ["a", "c", "d"] {
        studio.save(&format!("in/{name}.png"), photo(9, 8));
    }
    studio.write("in/b.png", b"this is no picture, whatever its name says");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").map(Stdio::from).ok();
    for (out, stderr) in [("closed", Some(closed())), ("full", full())] {
        let Some(stderr) = stderr else { continue };
        let output = run_with_stderr(&studio, &format!("stylize in --style {STYLE} -o {out}"), stderr);
        assert_eq!(output.status.code(), Some(1), "{out}");
        assert_eq!(studio.files(out), ["a.png", "c.png", "d.png"]);
    }
    let output = run_with_stderr(&studio, "stylize nowhere.png -o out.png --style nope", closed());
    assert_eq!(output.status.code(), Some(2));
    let output = run_with_stderr(&studio, "no-such-command", closed());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_reader_that_closes_standard_output_ends_the_run_quietly() {
    let studio = Studio::new();
    studio.save("in.png", photo(9, 8));
    let color = Color::guess(8);
    let frame_rate = Ratio { numerator: 25, denominator: 1 };
    let info =
        RawStreamInfo { width: 64, height: 48, frame_rate, sample_aspect: None, color, bits: 8, interlaced: false };
    let mut frames = Vec::new();
    let mut writer = Y4mWriter::new(&mut frames, &info).unwrap();
    (0..300).for_each(|_| writer.push(photo(64, 48).into()).unwrap());
    for line in [
        "styles",
        "info starry_night",
        "bench --presets xs --sizes 16x16 --runs 1 --quiet",
        &format!("stylize in.png --style {STYLE} -o -"),
        &format!("stylize - --style {STYLE} -o -"),
        &format!("stylize - --style {STYLE} -o - --format gif"),
    ] {
        let mut command = studio.command(line.split(' '));
        let mut child = command.stdin(Stdio::piped()).stdout(closed()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The program may end before it has read everything.
        let _ = stdin.write_all(&frames);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        assert_eq!(output.status.code(), Some(0), "{line}");
    }
}
