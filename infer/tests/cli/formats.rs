//! Reads and writes every kind of picture.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, Luma, Rgba, RgbaImage};
use impasto_picture::{Animation, Picture, PictureFormat};

use crate::studio::{Studio, photo};

/// The part of an RGB profile that is checked: its colour space is at byte 16.
fn profile() -> Vec<u8> {
    let mut profile = vec![3; 200];
    profile[16..20].copy_from_slice(b"RGB ");
    profile
}

#[test]
fn every_format_is_painted_into_every_format() {
    let studio = Studio::new();
    for from in PictureFormat::ALL {
        let input = format!("in.{}", from.extension());
        studio.save(&input, photo(13, 10));
        for to in PictureFormat::ALL {
            let output = format!("{from}.{}", to.extension());
            studio.stylize(&format!("{input} --output {output}"));
            let painting = Picture::open(studio.path(&output)).unwrap();
            assert_eq!((painting.width(), painting.height(), painting.format()), (13, 10, Some(to)), "{from} to {to}");
        }
    }
}

#[test]
fn a_painting_has_exactly_its_pictures_size() {
    let studio = Studio::new();
    for (width, height) in (1..=9).flat_map(|side| [(side, side), (side, 23), (22, side)]).chain([(61, 47)]) {
        studio.save("in.png", photo(width, height));
        studio.stylize("in.png -o out.png");
        let painting = studio.open("out.png");
        assert_eq!((painting.width(), painting.height()), (width, height));
    }
}

#[test]
fn the_content_decides_what_is_read_and_the_name_what_is_written() {
    let studio = Studio::new();
    studio.save("in.png", photo(8, 8));
    std::fs::rename(studio.path("in.png"), studio.path("in.jpg")).unwrap();
    studio.stylize("in.jpg -o out.webp");
    assert_eq!(Picture::open(studio.path("out.webp")).unwrap().format(), Some(PictureFormat::WebP));
    studio.stylize("in.jpg -o picture --format bmp");
    assert_eq!(Picture::open(studio.path("picture")).unwrap().format(), Some(PictureFormat::Bmp));
}

#[test]
fn a_photo_is_painted_upright() {
    let studio = Studio::new();
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    let orientation = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    encoder.set_exif_metadata(orientation).unwrap();
    encoder.write_image(&photo(30, 20), 30, 20, ExtendedColorType::Rgb8).unwrap();
    studio.write("turned.jpg", &bytes);
    studio.save("upright.png", studio.open("turned.jpg").rotate90());
    studio.stylize("turned.jpg -o a.png");
    studio.stylize("upright.png -o b.png");
    assert_eq!(studio.open("a.png").into_rgb8().dimensions(), (20, 30));
    assert_eq!(studio.open("a.png"), studio.open("b.png"));
}

#[test]
fn the_colour_profile_is_kept_if_the_format_supports_it() {
    let studio = Studio::new();
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(profile()).unwrap();
    encoder.write_image(&photo(9, 9), 9, 9, ExtendedColorType::Rgb8).unwrap();
    studio.write("in.png", &bytes);
    for format in ["png", "jpg", "webp", "tiff"] {
        let run = studio.stylize(&format!("in.png -o out.{format}"));
        assert!(!run.stderr.contains("note"), "{}", run.stderr);
        let path = studio.path(format!("out.{format}"));
        if format == "tiff" {
            // Our reader does not find the profile of a TIFF yet, but other programs do.
            let file = std::fs::read(path).unwrap();
            assert!(file.windows(profile().len()).any(|part| part == profile()));
        } else {
            assert_eq!(Picture::open(path).unwrap().icc_profile(), Some(&profile()[..]), "{format}");
        }
    }
    for format in ["bmp", "gif"] {
        let run = studio.stylize(&format!("in.png -o out.{format}"));
        assert!(run.stderr.contains("cannot store the colour profile"), "{}", run.stderr);
    }
}

#[test]
fn transparency_is_kept_or_its_loss_is_announced() {
    let studio = Studio::new();
    let alpha = |x: u32, y: u32| (x * 20 + y) as u8;
    let image = RgbaImage::from_fn(12, 11, |x, y| Rgba([200, 20, (x * 9) as u8, alpha(x, y)]));
    studio.save("in.png", image);
    for format in ["png", "webp", "tiff", "bmp"] {
        studio.stylize(&format!("in.png -o out.{format}"));
        let painting = studio.open(&format!("out.{format}")).into_rgba8();
        assert!(painting.enumerate_pixels().all(|(x, y, pixel)| pixel[3] == alpha(x, y)), "{format}");
    }
    let run = studio.stylize("in.png -o out.jpg");
    assert!(run.stderr.contains("transparent areas are blended with white"), "{}", run.stderr);
    assert!(studio.open("out.jpg").into_rgb8().get_pixel(0, 0).0.iter().all(|&level| level > 230));
    let run = studio.stylize("in.png -o out.gif");
    assert!(run.stderr.contains("opaque or transparent"), "{}", run.stderr);
    assert_eq!(studio.open("out.gif").into_rgba8().get_pixel(0, 0)[3], 0);
    let run = studio.stylize("in.png -o quiet.jpg --quiet");
    assert_eq!(run.stderr, "");
}

#[test]
fn sixteen_bits_stay_sixteen_bits() {
    let studio = Studio::new();
    let image = image::ImageBuffer::from_fn(20, 10, |x, y| image::Rgb([x as u16 * 3000, y as u16 * 6000, 777]));
    studio.save("in.png", DynamicImage::ImageRgb16(image));
    for output in ["out.png", "out.tiff"] {
        studio.stylize(&format!("in.png -o {output}"));
        let DynamicImage::ImageRgb16(painting) = studio.open(output) else { panic!("{output} has not 16 bits") };
        // Levels between those of 8 bits, which are multiples of 257.
        assert!(painting.iter().any(|level| level % 257 != 0), "{output}");
    }
    studio.stylize("in.png -o out.webp");
    assert_eq!(studio.open("out.webp").color(), image::ColorType::Rgb8);
}

#[test]
fn grey_ink_and_palettes_are_painted_in_colour() {
    let studio = Studio::new();
    studio.save("grey.png", DynamicImage::from(image::GrayImage::from_pixel(9, 7, Luma([90]))));
    studio.write("ink.jpg", include_bytes!("../../../common/picture/src/testdata/cmyk.jpg"));
    studio.write("palette.png", include_bytes!("../../../common/picture/src/testdata/palette.png"));
    for input in ["grey.png", "ink.jpg", "palette.png"] {
        studio.stylize(&format!("{input} -o out.png"));
        assert_eq!(studio.open("out.png").color(), image::ColorType::Rgb8);
    }
}

#[test]
fn an_animation_is_kept_as_gif_and_otherwise_gives_its_first_frame() {
    let studio = Studio::new();
    studio.write("in.webp", include_bytes!("../../../common/picture/src/testdata/animated.webp"));
    studio.stylize("in.webp -o out.gif");
    let bytes = std::fs::read(studio.path("out.gif")).unwrap();
    let delays: Vec<_> = Animation::decode(&bytes).unwrap().unwrap().map(|frame| frame.unwrap().delay).collect();
    assert_eq!(delays, [70, 130, 40]);
    studio.stylize("out.gif -o again.gif");
    let again = std::fs::read(studio.path("again.gif")).unwrap();
    assert_eq!(Animation::decode(&again).unwrap().unwrap().count(), 3);
    let run = studio.stylize("out.gif -o first.png");
    assert!(run.stderr.contains("only the first frame is painted"), "{}", run.stderr);
    assert_eq!(studio.open("first.png").into_rgb8().dimensions(), (6, 4));
}
