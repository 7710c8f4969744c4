//! Uncompressed frames through pipes, and animations: no ffmpeg.

use image::RgbImage;
use impasto_picture::{Animation, Picture};
use impasto_video::{Color, Ratio, RawStreamInfo, Y4mReader, Y4mWriter};

use crate::studio::{STYLE, Studio, photo};

const FRAMES: usize = 4;

fn stream(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = RawStreamInfo {
        width: image.width(),
        height: image.height(),
        frame_rate: Ratio { numerator: 24000, denominator: 1001 },
        sample_aspect: Ratio::new(4, 3),
        color: Color { full_range: true, ..Color::guess(image.height()) },
        bits: 8,
        interlaced: false,
    };
    let mut writer = Y4mWriter::new(&mut bytes, &info).unwrap();
    (0..FRAMES).for_each(|_| writer.push(image.clone().into()).unwrap());
    bytes
}

#[test]
fn frames_are_painted_from_pipe_to_pipe() {
    let studio = Studio::new();
    for (width, height) in [(20, 16), (21, 17)] {
        let bytes = stream(&photo(width, height));
        let run = studio.pipe(&format!("stylize - --style {STYLE} -o -"), &bytes);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let before = Y4mReader::new(&bytes[..]).unwrap();
        let after = Y4mReader::new(&run.stdout[..]).unwrap();
        assert_eq!(before.info(), after.info());
        let after: Vec<_> = after.map(|frame| frame.unwrap().picture).collect();
        assert!(after.len() == FRAMES && after[0] == after[3]);
        // Unpainted frames are unchanged except for the chroma, which 4:2:0 subsamples again.
        let run = studio.pipe(&format!("stylize - --style {STYLE} -o - --strength 0"), &bytes);
        let same: Vec<_> = Y4mReader::new(&run.stdout[..]).unwrap().map(|frame| frame.unwrap().picture).collect();
        let first = before.map(Result::unwrap).next().unwrap().picture.into_rgb8();
        let off: u32 =
            same[1].clone().into_rgb8().iter().zip(first.iter()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(off / (3 * width * height) <= 8, "{off}");
        assert!(same[1] != after[1]);
    }
}

#[test]
fn a_stream_becomes_a_file_or_an_animation_and_a_file_a_stream() {
    let studio = Studio::new();
    let bytes = stream(&photo(20, 16));
    studio.write("in.y4m", &bytes);
    let painted = studio.pipe(&format!("stylize - --style {STYLE} -o -"), &bytes).stdout;
    studio.stylize("in.y4m -o out.y4m");
    assert!(std::fs::read(studio.path("out.y4m")).unwrap() == painted);
    for format in ["gif", "webp"] {
        let run = studio.pipe(&format!("stylize - --style {STYLE} -o out.{format}"), &bytes);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let bytes = std::fs::read(studio.path(format!("out.{format}"))).unwrap();
        let delays: Vec<_> = Animation::decode(&bytes).unwrap().unwrap().map(|frame| frame.unwrap().delay).collect();
        // Frames are 41.7 ms apart.
        let expected = if format == "gif" { [40, 40, 50, 50] } else { [42, 41, 42, 42] };
        assert_eq!(delays, expected);
    }
}

#[test]
fn raw_frames_need_only_their_size() {
    let studio = Studio::new();
    let image = photo(12, 10);
    let bytes = image.as_raw().repeat(3);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o - --raw 12x10"), &bytes);
    assert_eq!((run.code, run.stdout.len()), (Some(0), bytes.len()), "{}", run.stderr);
    studio.save("in.png", image);
    studio.stylize("in.png -o out.png");
    let painting = Picture::open(studio.path("out.png")).unwrap().into_rgb8();
    assert!(run.stdout[..360] == painting.as_raw()[..] && run.stdout[720..] == painting.as_raw()[..]);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o - --raw 12x10"), &bytes[..bytes.len() - 1]);
    assert_eq!((run.code, run.stdout.len()), (Some(1), 720));
    assert!(run.stderr.contains("cut short in frame 2"), "{}", run.stderr);
    let run = studio.pipe(&format!("stylize - --style {STYLE} -o - --raw 12"), b"");
    assert_eq!(run.code, Some(2));
}

#[test]
fn an_animated_webp_stays_animated() {
    let studio = Studio::new();
    studio.write("in.webp", include_bytes!("../../../common/picture/src/testdata/animated.webp"));
    studio.stylize("in.webp -o out.webp");
    let bytes = std::fs::read(studio.path("out.webp")).unwrap();
    let frames: Vec<_> = Animation::decode(&bytes).unwrap().unwrap().map(Result::unwrap).collect();
    assert_eq!(frames.iter().map(|frame| frame.delay).collect::<Vec<_>>(), [70, 130, 40]);
    let run = studio.run(&format!("stylize in.webp --style {STYLE} -o out.mp4"));
    assert!(run.code == Some(1) && run.stderr.contains("use an output that ends in .gif or .webp"), "{}", run.stderr);
}
