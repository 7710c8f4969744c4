//! The effects of options on pixels.

use image::RgbImage;

use crate::studio::{STYLE, Studio, photo};

/// Cb and Cr as in JPEG, times 1.772 and 1.402: the differences of blue and red from luma.
fn chroma(pixel: [u8; 3]) -> [f32; 2] {
    let [red, green, blue] = pixel.map(f32::from);
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    [blue - luma, red - luma]
}

/// A photo without extreme colours, so that its chroma is possible at every luma in between.
fn muted() -> RgbImage {
    let mut image = photo(40, 30);
    image.iter_mut().for_each(|level| *level = 120 + *level / 16);
    image
}

#[test]
fn strength_goes_from_the_photo_to_the_painting() {
    let studio = Studio::new();
    studio.save("in.png", photo(40, 30));
    for (strength, name) in [("0", "none.png"), ("0.5", "half.png"), ("1", "full.png")] {
        studio.stylize(&format!("in.png -o {name} --strength {strength}"));
    }
    let [none, half, full] = ["none.png", "half.png", "full.png"].map(|name| studio.open(name).into_rgb8());
    assert!(none == photo(40, 30));
    assert!(full != none);
    for ((&none, &half), &full) in none.iter().zip(half.iter()).zip(full.iter()) {
        assert!((f32::from(half) - f32::midpoint(f32::from(none), f32::from(full))).abs() <= 1.0);
    }
}

#[test]
fn kept_colours_equal_the_photos_and_the_brightness_does_not() {
    let studio = Studio::new();
    studio.save("in.png", muted());
    studio.stylize("in.png -o out.png --keep-colors");
    let painting = studio.open("out.png").into_rgb8();
    assert!(painting != muted());
    let mut off = 0;
    for (painted, original) in painting.pixels().zip(muted().pixels()) {
        // Saturation may be lost only where the painting is almost black or white.
        let extreme = painted.0.iter().any(|level| !(1..=254).contains(level));
        let pairs = chroma(painted.0).into_iter().zip(chroma(original.0));
        off += usize::from(!extreme && pairs.into_iter().any(|(painted, original)| (painted - original).abs() > 1.5));
    }
    assert_eq!(off, 0);
}

#[test]
fn a_picture_is_made_smaller_but_never_larger() {
    let studio = Studio::new();
    studio.save("in.png", photo(60, 40));
    for (max_size, expected) in [(30, (30, 20)), (60, (60, 40)), (1000, (60, 40)), (1, (1, 1))] {
        studio.stylize(&format!("in.png -o out.png --max-size {max_size}"));
        assert_eq!(studio.open("out.png").into_rgb8().dimensions(), expected);
    }
}

#[test]
fn a_margin_is_mirrored_and_cropped() {
    let studio = Studio::new();
    let picture = photo(40, 30);
    studio.save("in.png", picture.clone());
    let mirrored = |margin: u32| {
        let place = |at: u32, side: u32| {
            let beyond = at.abs_diff(margin) % (2 * side - 2);
            beyond.min(2 * side - 2 - beyond)
        };
        RgbImage::from_fn(40 + 2 * margin, 30 + 2 * margin, |x, y| *picture.get_pixel(place(x, 40), place(y, 30)))
    };
    // The tiny style was not made by the trainer: without the flag there is no margin.
    for (flag, margin) in [("", 0), ("--margin 0", 0), ("--margin 4", 4), ("--margin auto", 32), ("--margin 256", 256)]
    {
        studio.save("mirrored.png", mirrored(margin));
        studio.stylize("mirrored.png -o expected.png --margin 0");
        let expected = studio.open("expected.png").crop_imm(margin, margin, 40, 30);
        studio.stylize(&format!("in.png -o out.png {flag}"));
        assert!(studio.open("out.png") == expected, "{flag}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_painting() {
    let studio = Studio::new();
    studio.save("in.png", photo(131, 77));
    for threads in 1..=3 {
        studio.stylize(&format!("in.png -o {threads}.png --threads {threads}"));
        assert!(studio.open("1.png") == studio.open(&format!("{threads}.png")), "{threads} threads");
    }
}

#[test]
fn lower_quality_gives_a_smaller_jpeg() {
    let studio = Studio::new();
    studio.save("in.png", photo(64, 64));
    let size = |quality: u8| {
        studio.stylize(&format!("in.png -o out.jpg --quality {quality}"));
        std::fs::metadata(studio.path("out.jpg")).unwrap().len()
    };
    assert!(size(10) < size(60) && size(60) < size(100));
}

/// A limit as in a container; painted with the machine's own memory in mind, the program would be killed.
#[test]
#[cfg(target_os = "linux")]
fn twenty_megapixels_are_painted_where_little_memory_is_allowed() {
    let studio = Studio::new();
    studio.save("in.jpg", photo(5472, 3648));
    let line = format!("ulimit -v 300000; exec \"$0\" stylize in.jpg --style {STYLE} -o out.jpg --threads 1");
    let mut command = std::process::Command::new("sh");
    let program = studio.command([""; 0]);
    let run = command.current_dir(studio.path("")).args(["-c", &line]).arg(program.get_program()).output().unwrap();
    let talk = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(0), "{talk}");
    assert_eq!(studio.open("out.jpg").width(), 5472);
}
