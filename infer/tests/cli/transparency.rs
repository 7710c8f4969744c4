//! Transparent clips: transparency is kept where the output can hold it, and a note says so where it cannot.

use image::RgbaImage;
use impasto_picture::Animation;
use impasto_video::Ffmpeg;

use crate::studio::Studio;
use crate::video::{ffmpeg, ffprobe, studio};

const SIZE: (u32, u32) = (64, 48);

/// Clips of which the left half is transparent, under a colour that nobody sees.
fn clips(studio: &Studio) -> Vec<&'static str> {
    let source = "-f lavfi -i testsrc2=size=64x48:rate=10,format=rgba,geq=r=r(X\\,Y):g=g(X\\,Y):b=b(X\\,Y):a=255*gte(X\\,32) -t 0.3";
    ffmpeg(studio, &format!("{source} -c:v png png.mov"));
    ffmpeg(studio, &format!("{source} -c:v qtrle qtrle.mov"));
    ffmpeg(studio, &format!("{source} -c:v prores_ks -pix_fmt yuva444p10le prores.mov"));
    ffmpeg(studio, &format!("{source} -c:v libvpx-vp9 -pix_fmt yuva420p -b:v 200k vp9.webm"));
    ffmpeg(studio, &format!("{source} -c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -b:v 200k vp8.webm"));
    vec!["png.mov", "qtrle.mov", "prores.mov", "vp9.webm", "vp8.webm"]
}

/// Whether this ffmpeg reads the transparency of VP9 and VP8.
fn reads_vpx() -> bool {
    Ffmpeg::find().is_ok_and(|ffmpeg| ["libvpx", "libvpx-vp9"].iter().all(|name| ffmpeg.has_decoder(name)))
}

/// The frames of a clip with its transparency.
fn frames(studio: &Studio, name: &str) -> Vec<RgbaImage> {
    let vpx = ["alpha_mode", "ALPHA_MODE"]
        .iter()
        .any(|tag| !ffprobe(&studio.path(name), &format!("stream_tags={tag}"), "v:0").is_empty());
    let decoder = if vpx { "-c:v libvpx-vp9 " } else { "" };
    let bytes = ffmpeg(studio, &format!("{decoder}-i {name} -fps_mode passthrough -f rawvideo -pix_fmt rgba -"));
    let frame = |bytes: &[u8]| RgbaImage::from_raw(SIZE.0, SIZE.1, bytes.to_vec()).unwrap();
    bytes.chunks(4 * (SIZE.0 * SIZE.1) as usize).map(frame).collect()
}

#[track_caller]
fn check(frames: &[RgbaImage], what: &str) {
    assert_eq!(frames.len(), 3, "{what}");
    for frame in frames {
        let (left, right) = (frame.get_pixel(12, 24)[3], frame.get_pixel(52, 24)[3]);
        assert!(left <= 4 && right >= 251, "{what}: {left} and {right}");
    }
}

#[test]
fn a_transparent_clip_stays_transparent_where_the_output_can() {
    let Some(studio) = studio() else { return };
    if !reads_vpx() {
        return;
    }
    for clip in clips(&studio) {
        for output in
            ["a.webm", "a.mkv --codec vp9", "a.mov --codec prores", "a.mov --codec qtrle", "b.mkv --codec ffv1"]
        {
            let run = studio.stylize(&format!("{clip} -o {output}"));
            assert!(!run.stderr.contains("transparen"), "{clip} {output}: {}", run.stderr);
            check(&frames(&studio, output.split(' ').next().unwrap()), &format!("{clip} {output}"));
        }
        for format in ["webp", "gif"] {
            studio.stylize(&format!("{clip} -o a.{format}"));
            let bytes = std::fs::read(studio.path(format!("a.{format}"))).unwrap();
            let frames = Animation::decode(&bytes).unwrap().unwrap();
            let frames: Vec<_> = frames.map(|frame| frame.unwrap().picture.into_image().into_rgba8()).collect();
            check(&frames, &format!("{clip} {format}"));
        }
    }
    studio.stylize("vp9.webm -o calm.webm --stabilize");
    check(&frames(&studio, "calm.webm"), "stabilised");
}

#[test]
fn transparency_that_is_lost_is_told_and_laid_on_white() {
    let Some(studio) = studio() else { return };
    if !reads_vpx() {
        return;
    }
    for clip in clips(&studio) {
        for (output, told) in [
            ("a.mp4", "libx264 in MP4 has no transparency; transparent pixels are put on white"),
            ("a.mov", "libx264 in MOV has no transparency; transparent pixels are put on white"),
            ("a.mp4 --codec vp9", "libvpx-vp9 in MP4 has no transparency"),
            ("a.y4m", "y4m has no transparency; transparent pixels are put on white"),
        ] {
            let run = studio.stylize(&format!("{clip} -o {output} --strength 0"));
            assert_eq!(run.stderr.matches(told).count(), 1, "{clip} {output}: {}", run.stderr);
            let pixel = frames(&studio, output.split(' ').next().unwrap())[1].get_pixel(12, 24).0;
            assert!(pixel.iter().all(|&level| level >= 248), "{clip} {output}: {pixel:?}");
        }
    }
}

#[test]
fn an_opaque_clip_in_a_format_that_could_be_transparent_needs_no_note() {
    let Some(studio) = studio() else { return };
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=64x48:rate=10 -t 0.3 in.gif");
    ffmpeg(&studio, "-f lavfi -i testsrc2=size=64x48:rate=10 -t 0.3 -c:v png -pix_fmt rgba in.mov");
    for line in ["in.gif -o out.mp4", "in.mov -o out.mp4", "in.mov -o out.y4m", "in.mov -o out.gif"] {
        let run = studio.stylize(line);
        assert!(run.stderr.starts_with("painted 1 of 1"), "{line}: {}", run.stderr);
    }
}

#[test]
fn an_animation_that_loses_its_partial_transparency_says_so() {
    let studio = Studio::new();
    let mut bytes = Vec::new();
    let mut writer = impasto_picture::AnimationWriter::new(
        impasto_picture::PictureFormat::WebP,
        &mut bytes,
        impasto_picture::Repeat::Forever,
    )
    .unwrap();
    for alpha in [255, 100, 100] {
        let image = RgbaImage::from_pixel(8, 8, image::Rgba([90, 20, 10, alpha]));
        let picture = image::DynamicImage::from(image).into();
        writer.push(impasto_picture::AnimationFrame { picture, delay: 100 }).unwrap();
    }
    writer.finish().unwrap();
    studio.write("in.webp", &bytes);
    let run = studio.stylize("in.webp -o out.gif");
    assert_eq!(run.stderr.matches("GIF does not support partial transparency").count(), 1, "{}", run.stderr);
    let run = studio.stylize("in.webp -o out.webp");
    assert!(run.stderr.starts_with("painted 1 of 1"), "{}", run.stderr);
}
