//! Clips made by ffmpeg are painted and inspected with ffprobe. Without ffmpeg, these tests are skipped with a message.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use impasto_video::Ffmpeg;

use crate::studio::{STYLE, Studio};

/// A folder for a test, where there is an ffmpeg.
pub(crate) fn studio() -> Option<Studio> {
    if Ffmpeg::find().is_err() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: there is no ffmpeg to make clips with");
        }
        return None;
    }
    Some(Studio::new())
}

/// Runs ffmpeg in the folder with the words of `line`.
pub(crate) fn ffmpeg(studio: &Studio, line: &str) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-nostdin"]).args(line.split(' ')).current_dir(studio.path(""));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn ffprobe(path: &Path, entries: &str, stream: &str) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0"]).arg(path);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_end_matches(',').to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// The timestamps of all frames, and the duration, in units of the time base.
pub(crate) fn times(studio: &Studio, name: &str) -> (Vec<String>, Vec<String>) {
    let path = studio.path(name);
    (ffprobe(&path, "frame=pts", "v:0"), ffprobe(&path, "stream=time_base,duration_ts", "v:0"))
}

/// A digest of the sound's packets.
fn sound(studio: &Studio, name: &str) -> Vec<u8> {
    ffmpeg(studio, &format!("-i {name} -map 0:a -c copy -f md5 -"))
}

/// A digest of every decoded frame.
pub(crate) fn frames(studio: &Studio, name: &str) -> String {
    String::from_utf8(ffmpeg(studio, &format!("-i {name} -map 0:v -fps_mode passthrough -f framemd5 -"))).unwrap()
}

pub(crate) const NTSC: &str = "-f lavfi -i testsrc2=size=64x48:rate=30000/1001";
pub(crate) const TONE: &str = "-f lavfi -i sine=frequency=440";

#[test]
fn a_clip_keeps_its_timestamps_sound_and_subtitles() {
    let Some(studio) = studio() else { return };
    studio.write("in.srt", b"1\n00:00:00,100 --> 00:00:01,500\nhello\n");
    let words = "-metadata title=Stars -metadata:s:a:0 language=nld -c:s mov_text";
    ffmpeg(&studio, &format!("{NTSC} {TONE} -i in.srt -t 2 -pix_fmt yuv420p -c:a aac {words} in.mp4"));
    let run = studio.stylize("in.mp4 -o out.mp4");
    assert!(run.stderr.starts_with("painted 1 of 1 in "), "{}", run.stderr);
    assert_eq!(times(&studio, "in.mp4"), times(&studio, "out.mp4"));
    assert_eq!(times(&studio, "out.mp4").0.len(), 60);
    assert_eq!(sound(&studio, "in.mp4"), sound(&studio, "out.mp4"));
    let out = studio.path("out.mp4");
    assert_eq!(ffprobe(&out, "stream=codec_name", "s"), ["mov_text"]);
    assert_eq!(ffprobe(&out, "format_tags=title", "v"), ["Stars"]);
    assert_eq!(ffprobe(&out, "stream_tags=language", "a"), ["nld"]);
    assert_eq!(ffprobe(&out, "stream=color_range,color_space", "v"), ["tv,smpte170m"]);
    assert!(!studio.path("out.mp4.parts").exists());
}

#[test]
fn a_variable_rate_over_several_segments_keeps_every_timestamp() {
    let Some(studio) = studio() else { return };
    let select = "-vf select=not(mod(n\\,3))+eq(n\\,4)+gt(n\\,50)*lt(mod(n\\,50)\\,17) -fps_mode passthrough";
    ffmpeg(&studio, &format!("{NTSC} {TONE} -t 12 {select} -pix_fmt yuv420p -c:a aac in.mp4"));
    // B-frames, whose order in the file differs from that of display.
    studio.stylize("in.mp4 -o out.mp4 --codec-options preset=medium");
    let (before, after) = (times(&studio, "in.mp4"), times(&studio, "out.mp4"));
    assert!(before.0.len() > 150, "{} frames are no two parts", before.0.len());
    assert_eq!(before, after);
    assert_eq!(sound(&studio, "in.mp4"), sound(&studio, "out.mp4"));
}

#[test]
fn a_variable_rate_that_becomes_constant_gives_a_notice() {
    let Some(studio) = studio() else { return };
    ffmpeg(
        &studio,
        &format!("{NTSC} -t 1 -vf select=lt(n\\,9)+gt(n\\,20) -fps_mode passthrough -pix_fmt yuv420p in.mp4"),
    );
    ffmpeg(&studio, &format!("{NTSC} -t 1 -pix_fmt yuv420p even.mp4"));
    for (line, told) in [("in.mp4", true), ("in.mp4 --fps 10", false), ("even.mp4", false)] {
        let run = studio.stylize(&format!("{line} -o out.y4m"));
        assert_eq!(run.stderr.contains("the frame rate varies"), told, "{line}: {}", run.stderr);
    }
    let run = studio.stylize("in.mp4 -o out.mp4");
    assert!(!run.stderr.contains("the frame rate varies"), "{}", run.stderr);
}

/// Uses a separate small disk, in a namespace that ends with the program. Skipped where that is not allowed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_gives_a_hint_how_to_continue() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} -t 1 -pix_fmt yuv420p in.mp4"));
    fs::create_dir(studio.path("disk")).unwrap();
    let mount = |size: &str, line: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size={size} none disk && exec \"$0\" \"$@\"");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script]).arg(env!("CARGO_BIN_EXE_infer"));
        command.args(line.split(' ')).current_dir(studio.path("")).output()
    };
    if !mount("100k", "styles").is_ok_and(|output| output.status.success()) {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: no disk of its own can be mounted");
        }
        return;
    }
    let output = mount("64k", &format!("stylize in.mp4 --style {STYLE} -o disk/out.mkv --codec ffv1")).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("No space left on device") && text.contains("hint: free some disk space;"), "{text}");
    assert!(text.contains("`--resume`"), "{text}");
}

/// Like the previous test, with disks that are much too small, slightly too small and large enough. ffmpeg reports success
/// for some incomplete files.
#[cfg(target_os = "linux")]
#[test]
fn a_clip_on_a_full_disk_is_complete_or_an_error() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} -t 1 -pix_fmt yuv420p in.mp4"));
    fs::create_dir(studio.path("disk")).unwrap();
    let count = "ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 disk/out.mp4";
    let mut codes = std::collections::BTreeSet::new();
    for size in (4..=64).step_by(4) {
        let script = format!("mount -t tmpfs -o size={size}k none disk || exit 9; \"$0\" \"$@\" || exit $?; {count}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script]).arg(env!("CARGO_BIN_EXE_infer"));
        command.args(["stylize", "in.mp4", "--style", STYLE, "-o", "disk/out.mp4", "-q"]).current_dir(studio.path(""));
        let Ok(output) = command.output() else { return };
        let code = output.status.code().unwrap();
        let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match code {
            0 => assert_eq!(text.trim().trim_end_matches(','), "30", "{size}k: {said}"),
            1 if !said.starts_with("unshare") => assert!(said.contains("No space left"), "{size}k: {said}"),
            // No separate disk can be mounted here.
            _ => return,
        }
        codes.insert(code);
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_second_process_on_the_same_clip_is_told_about_the_first() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=640x480:rate=30 -t 20 -pix_fmt yuv420p in.mp4");
    let line = ["stylize", "in.mp4", "--style", STYLE, "-o", "out.mp4"];
    let mut first = studio.command(line).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !studio.path("out.mp4.parts/render.json").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is painted");
        sleep(Duration::from_millis(2));
    }
    for resume in [&[][..], &["--resume"]] {
        let output = studio.command(line.iter().chain(resume)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(first.try_wait().unwrap().is_none(), "the first one was too fast");
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("another process is painting `out.mp4`\nhint: wait until it ends"), "{text}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn high_dynamic_range_is_tone_mapped_where_ffmpeg_can() {
    let Some(studio) = studio() else { return };
    // A grey in PQ, which is brighter after conversion.
    let hdr = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -pix_fmt yuv420p10le";
    ffmpeg(&studio, &format!("-f lavfi -i color=c=0x949494:size=64x48:rate=5 -t 0.4 -c:v ffv1 {hdr} in.mkv"));
    let run = studio.stylize("in.mkv -o out.mkv --codec ffv1 --strength 0");
    let can = Ffmpeg::find().unwrap().has_filters(&["zscale", "tonemap"]);
    assert_eq!(run.stderr.contains("converted to standard range"), can, "{}", run.stderr);
    assert_eq!(run.stderr.contains("looks pale"), !can, "{}", run.stderr);
    ffmpeg(&studio, "-i out.mkv -frames:v 1 out.png");
    let level = studio.open("out.png").into_rgb8().get_pixel(30, 20)[0];
    assert!(!can || level > 160, "{level}");
}

#[test]
fn rotated_odd_silent_and_deep_clips_are_painted() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i rgbtestsrc=size=33x27:rate=25 -t 0.4 -c:v ffv1 -pix_fmt yuv420p odd.mkv");
    let run = studio.stylize("odd.mkv -o odd.mp4");
    assert!(run.stderr.contains("cropped from 33x27 to 32x26"), "{}", run.stderr);
    assert_eq!(ffprobe(&studio.path("odd.mp4"), "stream=width,height,nb_frames", "v"), ["32,26,10"]);
    studio.stylize("odd.mkv -o whole.mkv --codec ffv1");
    assert_eq!(ffprobe(&studio.path("whole.mkv"), "stream=width,height", "v"), ["33,27"]);
    ffmpeg(&studio, &format!("{NTSC} -t 0.3 -c:v ffv1 -pix_fmt yuv420p10le deep.mkv"));
    let run = studio.stylize("deep.mkv -o deep.mp4");
    assert!(run.stderr.contains("the clip has 10 bits per channel; it is painted in 8 bits"), "{}", run.stderr);
    ffmpeg(&studio, &format!("{NTSC} -t 0.3 -pix_fmt yuv420p flat.mp4"));
    // The option of ffmpeg 6 and later, and the tag of earlier versions.
    let turn = |line: &str| {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "quiet", "-y"]).args(line.split(' ')).current_dir(studio.path(""));
        command.status().unwrap().success()
    };
    assert!(
        turn("-display_rotation 90 -i flat.mp4 -c copy turned.mp4")
            || turn("-i flat.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4")
    );
    studio.stylize("turned.mp4 -o upright.mp4");
    let path = studio.path("upright.mp4");
    assert_eq!(ffprobe(&path, "stream=width,height", "v"), ["48,64"]);
    assert_eq!(ffprobe(&path, "stream_side_data=rotation", "v"), Vec::<String>::new());
}

#[test]
fn a_clip_cut_short_is_painted_as_far_as_it_decodes_and_the_batch_continues() {
    let Some(studio) = studio() else { return };
    fs::create_dir(studio.path("in")).unwrap();
    ffmpeg(&studio, &format!("{NTSC} -t 1 -pix_fmt yuv420p -g 5 -movflags +faststart in/a.mp4"));
    let bytes = fs::read(studio.path("in/a.mp4")).unwrap();
    studio.write("in/a.mp4", &bytes[..bytes.len() * 2 / 3]);
    studio.write("in/b.mp4", b"no clip at all, whatever its name says");
    ffmpeg(&studio, &format!("{NTSC} -t 0.3 -c:v mpeg4 in/c.avi"));
    ffmpeg(&studio, &format!("{NTSC} -frames:v 1 in/d.png"));
    let run = studio.run(&format!("stylize in -o out --style {STYLE}"));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains(" of 30 frames are lost"), "{}", run.stderr);
    assert!(run.stderr.contains("painted 2 of 4 in "), "{}", run.stderr);
    assert_eq!(studio.files("out"), ["a.mp4", "c.mkv", "d.png"]);
    let painted = times(&studio, "out/a.mp4").0.len();
    assert!((8..30).contains(&painted), "{painted}");
}

#[test]
fn impossible_requests_are_refused_before_anything_is_painted() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} {TONE} -t 0.3 -pix_fmt yuv420p -c:a pcm_s16le in.mov"));
    for (options, code, word) in [
        ("out.mp4 --codec nope", 2, "the encoder `nope` does not work with these options"),
        ("out.mp4 --codec-options preset=warp", 2, "the encoder `libx264` does not work with these options"),
        ("out.mp4 --codec copy", 2, "expected the name of an encoder"),
        ("out.mp4 --crf 99", 2, "--crf"),
        ("out.mp4 --fps 0", 2, "--fps"),
        ("out.mp4 --start=-1", 2, "--start"),
        ("out.mov --start 9", 2, "before the requested start"),
        ("out.mp4 --scale 9", 2, "expected `WIDTHxHEIGHT`"),
        ("out.png", 2, "a clip cannot be written as PNG"),
        ("out.webm", 2, "does not hold the sound"),
    ] {
        let run = studio.run(&format!("stylize in.mov --style {STYLE} --output {options}"));
        assert_eq!(run.code, Some(code), "{options}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{options}: {}", run.stderr);
        assert!(!studio.files("").iter().any(|name| name.starts_with("out")), "{options}");
    }
    studio.save("in.png", crate::studio::photo(9, 8));
    let run = studio.run(&format!("stylize in.png --style {STYLE} -o out.mp4"));
    assert!(run.stderr.contains("it is a picture"), "{}", run.stderr);
}

#[test]
fn without_ffmpeg_the_error_says_how_to_get_it() {
    let studio = Studio::new();
    studio.write("in.mp4", b"\0\0\0\x20ftypisom and no more");
    let mut command = studio.command(["stylize", "in.mp4", "--style", STYLE, "-o", "out.mp4"]);
    let output = command.env("PATH", studio.path("")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("clips need the program `") && text.contains("apt-get install ffmpeg"), "{text}");
}

#[test]
#[cfg(unix)]
fn a_run_that_is_stopped_or_killed_continues_to_the_same_frames() {
    let Some(studio) = studio() else { return };
    let source = "-f lavfi -i testsrc2=size=160x120:rate=30000/1001";
    ffmpeg(&studio, &format!("{source} {TONE} -t 14 -pix_fmt yuv420p -c:a aac in.mp4"));
    studio.stylize("in.mp4 -o whole.mp4");
    let line = ["stylize", "in.mp4", "--style", STYLE, "-o", "out.mp4", "--resume"];
    let stop = |signal: &str, parts: usize| {
        let mut child = studio.command(line).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        let complete = || {
            let files = studio.files("out.mp4.parts");
            files.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).count()
        };
        while !studio.path("out.mp4.parts").exists() || complete() < parts {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing is painted");
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was stopped");
            sleep(Duration::from_millis(2));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap().code()
    };
    assert_eq!(stop("-KILL", 1), None);
    assert!(!studio.path("out.mp4").exists());
    assert_eq!(stop("-INT", 2), Some(130));
    let partial = times(&studio, "out.mp4").0;
    assert!((250..420).contains(&partial.len()), "{} frames play", partial.len());
    assert_eq!(partial, times(&studio, "whole.mp4").0[..partial.len()]);
    // Another style gives a different painting, and a run that is not resumed would lose this one.
    let run = studio.run(&format!("stylize in.mp4 --style {STYLE} -o out.mp4 --resume --strength 0.5"));
    assert!(run.stderr.contains("had a different painter"), "{}", run.stderr);
    let run = studio.run(&format!("stylize in.mp4 --style {STYLE} -o out.mp4"));
    assert!(run.stderr.contains("continue with `--resume`"), "{}", run.stderr);
    studio.stylize("in.mp4 -o out.mp4 --resume");
    assert_eq!(frames(&studio, "out.mp4"), frames(&studio, "whole.mp4"));
    assert_eq!(sound(&studio, "out.mp4"), sound(&studio, "in.mp4"));
    assert!(!studio.path("out.mp4.parts").exists());
}
