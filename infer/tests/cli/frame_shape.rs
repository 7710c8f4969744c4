//! Clips whose pixels are not square: what a player shows keeps its shape at every size and in every format.

use crate::studio::{STYLE, Studio};
use crate::video::{ffmpeg, ffprobe, studio};

/// Frames of 90x72 pixels that are shown as 106.7x72.
const WIDE: &str = "-f lavfi -i testsrc2=size=90x72:rate=5 -t 0.4 -vf setsar=32/27 -pix_fmt yuv420p";

/// The size of the frames in pixels, and the width of what is shown.
fn shown(studio: &Studio, name: &str) -> ((f64, f64), f64) {
    let entries = ffprobe(&studio.path(name), "stream=width,height,sample_aspect_ratio", "v:0");
    let words: Vec<_> = entries[0].split(',').collect();
    let (width, height): (f64, f64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
    let aspect = words[2]
        .split_once(':')
        .map_or(1.0, |(wide, high)| wide.parse::<f64>().unwrap() / high.parse::<f64>().unwrap());
    ((width, height), width * aspect)
}

#[test]
fn wide_pixels_keep_the_shown_shape_at_every_size() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{WIDE} in.mp4"));
    for (options, size) in [
        ("", (90.0, 72.0)),
        ("--scale 180x", (180.0, 122.0)),
        ("--scale x144", (214.0, 144.0)),
        ("--scale 180x144", (180.0, 144.0)),
        ("--scale 100x100", (100.0, 100.0)),
        ("--max-size 60", (60.0, 40.0)),
        ("--max-size 107", (90.0, 72.0)),
    ] {
        for name in ["out.mp4", "out.mkv", "out.y4m"] {
            studio.stylize(&format!("in.mp4 -o {name} {options}"));
            let (frames, width) = shown(&studio, name);
            assert_eq!(frames, size, "{name} {options}");
            let expected = frames.1 * 40.0 / 27.0;
            assert!((width - expected).abs() <= 1.0, "{name} {options}: {width} wide, not {expected}");
        }
    }
}

#[test]
fn animations_have_square_pixels() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, &format!("{WIDE} wide.mp4"));
    ffmpeg(&studio, &format!("{} narrow.mp4", WIDE.replace("32/27", "8/9")));
    ffmpeg(&studio, &format!("{} double.y4m", WIDE.replace("32/27", "2/1")));
    for (line, size) in [
        ("wide.mp4", (107, 72)),
        ("wide.mp4 --scale 180x", (180, 122)),
        ("wide.mp4 --max-size 60", (60, 40)),
        ("narrow.mp4", (90, 81)),
        ("double.y4m", (180, 72)),
    ] {
        for format in ["gif", "webp"] {
            studio.stylize(&format!("{line} -o out.{format}"));
            let image = studio.open(&format!("out.{format}"));
            assert_eq!((image.width(), image.height()), size, "{line} {format}");
        }
    }
    let bytes = std::fs::read(studio.path("double.y4m")).unwrap();
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o piped.gif"), &bytes);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(studio.open("piped.gif").width(), 180);
}
