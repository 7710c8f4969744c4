//! Pixels that may change only on purpose.
//!
//! `UPDATE_GOLDEN=1 cargo test` rewrites them and fails, so that a rewritten file is reviewed before it is committed.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use crate::studio::{Studio, photo};

/// The largest difference of a pixel in levels. Kernels for other instruction sets add up in a different order.
const TOLERANCE: u8 = 2;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn a_painting_equals_the_golden_file() {
    let studio = Studio::new();
    studio.save("in.png", photo(45, 31));
    studio.stylize("in.png -o out.png");
    let actual = studio.open("out.png").into_rgb8();
    let path = golden("painting.png");
    if updating() {
        actual.save(&path).unwrap();
        panic!("{} is rewritten; look at it and run again without UPDATE_GOLDEN", path.display());
    }
    let expected = image::open(&path).unwrap().into_rgb8();
    assert_eq!(expected.dimensions(), actual.dimensions());
    let off = |x, y| (0..3).any(|i| expected.get_pixel(x, y)[i].abs_diff(actual.get_pixel(x, y)[i]) > TOLERANCE);
    let count = actual.enumerate_pixels().filter(|&(x, y, _)| off(x, y)).count();
    if count > 0 {
        let panels = panels(&expected, &actual, off);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("painting.png");
        panels.save(&path).unwrap();
        panic!("{count} pixels differ by more than {TOLERANCE}; expected | mask | actual: {}", path.display());
    }
}

fn panels(expected: &RgbImage, actual: &RgbImage, off: impl Fn(u32, u32) -> bool) -> RgbImage {
    let (width, height) = expected.dimensions();
    RgbImage::from_fn(3 * width, height, |x, y| match x / width {
        0 => *expected.get_pixel(x, y),
        1 if off(x - width, y) => Rgb([255; 3]),
        1 => Rgb([0; 3]),
        _ => *actual.get_pixel(x - 2 * width, y),
    })
}
