//! Paints RGB bytes in memory, for programs that have their own pictures:
//! `cargo run --release --example stylize_buffer [STYLE [WIDTH HEIGHT]]`.
//!
//! STYLE is a bundled style or a style-model file, by default `starry_night`.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;

use image::RgbImage;
use impasto_common::device::DeviceChoice;
use impasto_common::model_file::StyleModel;
use impasto_common::styles::BundledStyle;
use impasto_common::{Error, Result};
use impasto_infer::{StylizeOptions, Stylizer};
use impasto_picture::Picture;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let style = words.first().map_or("starry_night", String::as_str);
    let side = |i: usize| match words.get(i).map_or(Ok(256), |word| word.parse::<u32>()) {
        Ok(side) if side > 0 => Ok(side),
        _ => Err(Error::usage("expected a width and a height in pixels")),
    };
    let (width, height) = (side(1)?, side(2)?);

    // Loading takes longest: make one stylizer for each style. It can be shared between threads.
    let model = match BundledStyle::named(style) {
        Some(bundled) => bundled.model()?,
        None => StyleModel::open(Path::new(style))?,
    };
    let options = StylizeOptions { strength: 0.9, ..StylizeOptions::default() };
    let stylizer = Stylizer::builder().device(DeviceChoice::Auto).options(options).build(&model)?;

    // Three bytes a pixel, row by row from the top left.
    let bytes: Vec<u8> = (0..3 * width * height).map(|i| (i / 3 % width + i / (3 * width)) as u8).collect();
    let image = RgbImage::from_raw(width, height, bytes).ok_or_else(|| Error::new("there are too few bytes"))?;
    let painted = stylizer.stylize_owned(Picture::from(image))?;
    painted.notes.iter().for_each(|note| println!("note: {note}"));

    let bytes: Vec<u8> = painted.picture.into_rgb8().into_raw();
    let mean = bytes.iter().map(|&level| f64::from(level)).sum::<f64>() / bytes.len() as f64;
    println!("{width}x{height} pixels painted in {style}, mean level {mean:.1} of 255");
    Ok(())
}
