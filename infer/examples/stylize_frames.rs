//! Paints frames that arrive one after the other, as from a camera or a game, so that strokes hold still:
//! `cargo run --release --example stylize_frames [STYLE [FRAMES [FOLDER]]]`.
//!
//! STYLE is a bundled style, by default `starry_night_video`. The paintings are written into FOLDER if it is given.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;
use std::time::Instant;

use image::{Rgb, RgbImage};
use impasto_common::{Result, ResultExt};
use impasto_infer::{Stabilizer, SteadyOptions, Stylizer};
use impasto_picture::Picture;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let style = words.first().map_or("starry_night_video", String::as_str);
    let count = words.get(1).map_or(Ok(10), |word| word.parse::<u32>()).context(|| "expected a number of frames")?;

    // The stabilizer remembers earlier frames: one for each stream. `reset` starts another clip.
    let mut stabilizer = Stabilizer::new(Stylizer::bundled(style)?, SteadyOptions::default())?;
    let start = Instant::now();
    for (i, frame) in frames(count).enumerate() {
        let painted = stabilizer.paint(frame)?;
        painted.notes.iter().for_each(|note| println!("note: {note}"));
        if let Some(folder) = words.get(2) {
            painted.picture.save(Path::new(folder).join(format!("{i:04}.png")))?;
        }
    }
    println!("{:.1} frames a second", f64::from(count) / start.elapsed().as_secs_f64());
    Ok(())
}

/// A camera that pans over waves.
fn frames(count: u32) -> impl Iterator<Item = Picture> {
    (0..count).map(|i| {
        let level =
            |x: u32, y: u32, pace: f32| (128.0 + 90.0 * (pace * (x + 2 * i) as f32 + 0.1 * y as f32).sin()) as u8;
        RgbImage::from_fn(320, 240, |x, y| Rgb([0.05, 0.08, 0.11].map(|pace| level(x, y, pace)))).into()
    })
}
