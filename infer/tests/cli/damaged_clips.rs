//! Clips that are damaged are painted as far as they decode, and named; what only looks like damage is not.

use std::fs;
use std::path::Path;

use crate::studio::{STYLE, Studio};
use crate::video::{NTSC, TONE, ffmpeg, studio, times};

/// The frames of a clip, painted or not.
fn count(studio: &Studio, name: &str) -> usize {
    times(studio, name).0.len()
}

/// Timestamps as phones write them: in the mean frame rate, two frames have the same time.
const PHONE: &str = "settb=1/1000,setpts=23+40*N+20*gt(N\\,9)+100*gt(N\\,10)+60*gt(N\\,11)+100*gt(N\\,13)*(N-13)";

#[test]
fn a_variable_rate_that_was_copied_into_another_file_is_no_damage() {
    let Some(studio) = studio() else { return };
    let times_of_a_phone = format!("-vf {PHONE} -fps_mode passthrough -enc_time_base 1/1000");
    ffmpeg(&studio, &format!("{NTSC} -frames:v 17 {times_of_a_phone} -pix_fmt yuv420p -bf 2 in.mp4"));
    for name in ["in.mkv", "in.mov", "in.mp4"] {
        if name != "in.mp4" {
            ffmpeg(&studio, &format!("-i in.mp4 -c copy {name}"));
        }
        let run = studio.stylize(&format!("{name} -o out.mkv"));
        assert!(run.stderr.starts_with("painted 1 of 1 in "), "{name}: {}", run.stderr);
        assert_eq!(count(&studio, "out.mkv"), 17, "{name}");
    }
}

#[test]
fn the_variable_rate_clip_of_a_phone_is_painted_whole() {
    let Some(studio) = studio() else { return };
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/video/vfr.mkv");
    if !clip.exists() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: there is no `{}`", clip.display());
        }
        return;
    }
    fs::copy(clip, studio.path("in.mkv")).unwrap();
    for output in ["out.mp4", "out.mkv", "out.webp"] {
        let run = studio.stylize(&format!("in.mkv -o {output}"));
        assert!(!run.stderr.contains("damaged"), "{}", run.stderr);
    }
    assert_eq!((count(&studio, "out.mp4"), count(&studio, "out.mkv")), (17, 17));
    assert_eq!(times(&studio, "out.mkv").0, times(&studio, "in.mkv").0);
}

#[test]
fn a_part_of_a_clip_whose_frames_refer_to_earlier_ones_is_no_damage() {
    let Some(studio) = studio() else { return };
    // Groups of pictures that begin with frames which refer to the group before.
    let source = "-f lavfi -i testsrc2=size=64x48:rate=25 -t 6 -pix_fmt yuv420p";
    let open = "open-gop=1:bframes=3:keyint=25:min-keyint=25:scenecut=0";
    ffmpeg(&studio, &format!("{source} -c:v libx264 -x264-params {open} in.mp4"));
    ffmpeg(&studio, "-i in.mp4 -c copy in.ts");
    ffmpeg(&studio, "-ss 2.1 -i in.mp4 -c copy cut.mp4");
    for line in ["in.mp4 --start 1.1", "in.ts --start 1.1", "in.mp4 --start 3.37", "in.ts --start 3.37", "cut.mp4"] {
        let run = studio.stylize(&format!("{line} -o out.mp4"));
        assert!(run.stderr.starts_with("painted 1 of 1 in "), "{line}: {}", run.stderr);
    }
}

#[test]
fn errors_that_the_decoder_conceals_are_named() {
    let Some(studio) = studio() else { return };
    let source = "-f lavfi -i testsrc2=size=160x120:rate=25 -t 4 -g 25 -pix_fmt yuv420p";
    for (name, codec) in [
        ("a.mp4", "-c:v libx264 -preset veryfast -movflags +faststart"),
        ("b.mkv", "-c:v libx264 -preset veryfast"),
        ("c.avi", "-c:v mpeg4"),
        ("d.ts", "-c:v mpeg2video -q:v 4"),
    ] {
        ffmpeg(&studio, &format!("{source} {codec} {name}"));
        studio.stylize(&format!("{name} -o whole.mp4"));
        let mut bytes = fs::read(studio.path(name)).unwrap();
        // Behind the index, in the middle of the frames.
        let middle = bytes.len() / 2;
        bytes[middle..][..1500].fill(0);
        studio.write(name, &bytes);
        let run = studio.run(&format!("stylize {name} --style {STYLE} -o out.mp4"));
        assert_eq!(run.code, Some(1), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("`{name}`: ")), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("damaged") || run.stderr.contains("are lost"), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("`out.mp4` holds what could be decoded"), "{name}: {}", run.stderr);
        let (painted, whole) = (count(&studio, "out.mp4"), count(&studio, "whole.mp4"));
        assert!((whole / 2..=whole).contains(&painted), "{name}: {painted} of {whole}");
        assert!(!studio.path("out.mp4.parts").exists(), "{name}");
    }
}

#[test]
fn a_clip_without_its_end_is_painted_and_named_in_every_format() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} {TONE} -t 3 -pix_fmt yuv420p -g 15 -c:a aac -ar 44100 in.mp4"));
    for (name, options) in [
        ("a.mp4", "-c copy -movflags +faststart"),
        ("b.mp4", "-c copy -movflags +frag_keyframe+empty_moov"),
        ("c.mov", "-c copy -movflags +faststart"),
        ("d.mkv", "-c copy"),
        ("e.ts", "-c copy"),
        ("f.flv", "-c copy"),
        ("g.avi", "-c:v mpeg4 -c:a mp2"),
        ("h.wmv", "-c:v wmv2 -c:a wmav2"),
    ] {
        ffmpeg(&studio, &format!("-i in.mp4 {options} {name}"));
        studio.stylize(&format!("{name} -o whole.mkv"));
        let whole = count(&studio, "whole.mkv");
        let bytes = fs::read(studio.path(name)).unwrap();
        for share in [50, 70, 90] {
            // Not between two packets of a transport stream: nothing is then missing that the format knows of.
            studio.write(name, &bytes[..(bytes.len() * share / 100) | 1]);
            let run = studio.run(&format!("stylize {name} --style {STYLE} -o out.mkv"));
            assert_eq!(run.code, Some(1), "{share} % of {name}: {}", run.stderr);
            assert!(run.stderr.contains(&format!("`{name}`: ")), "{share} % of {name}: {}", run.stderr);
            let painted = count(&studio, "out.mkv");
            assert!(painted > whole / 5 && painted <= whole, "{share} % of {name}: {painted} of {whole}");
        }
    }
}

#[test]
fn a_damaged_clip_that_becomes_an_animation_or_a_pipe_is_named_too() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{NTSC} -t 3 -g 15 -pix_fmt yuv420p in.mkv"));
    let bytes = fs::read(studio.path("in.mkv")).unwrap();
    studio.write("in.mkv", &bytes[..bytes.len() * 2 / 3]);
    for output in ["out.gif", "out.webp", "out.y4m"] {
        let run = studio.run(&format!("stylize in.mkv --style {STYLE} -o {output}"));
        assert_eq!(run.code, Some(1), "{output}: {}", run.stderr);
        assert!(run.stderr.contains("damaged"), "{output}: {}", run.stderr);
        assert!(studio.path(output).exists(), "{output}");
    }
}
