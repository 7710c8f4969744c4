//! How fast a card paints: alone, one frame after another, and with several under way.

use std::time::{Duration, Instant};

use impasto_common::{Error, Result};
use impasto_engine::PaintPrecision;
use impasto_kernels::gpu::Value;
use impasto_kernels::machine;
use impasto_picture::Picture;

use super::{Card, CardRates, Length, median, repeat};
use crate::video::FramePainter;
use crate::{Flight, Stylizer};

/// Runs on the card alone, and frames of a clip, for each run that is timed one by one.
const MORE: usize = 10;

/// The name and the peak of the card that `stylizer` paints on, if it does.
pub(super) fn peak(stylizer: &Stylizer) -> Result<Option<Card>> {
    let Some(card) = stylizer.engine().gpu() else { return Ok(None) };
    let value = match card.precision() {
        PaintPrecision::F32 => Value::F32,
        PaintPrecision::Bf16 => Value::Bf16,
        PaintPrecision::F16 => Value::F16,
    };
    let peak_gflops = machine::gpu_peak_flops(card.ordinal(), value)? / 1e9;
    Ok(Some(Card { name: card.name().to_owned(), peak_gflops }))
}

/// The time of the first frame, those of the others, the fastest first, and the card's rates.
pub(super) fn measure(
    stylizer: &Stylizer,
    size: (usize, usize),
    length: Length,
) -> Result<(Duration, Vec<Duration>, CardRates)> {
    let card = stylizer.engine().gpu().ok_or_else(|| Error::new("no card paints"))?;
    let frame = frame(size);
    let one = || {
        let frame = frame.clone();
        let start = Instant::now();
        let painting = stylizer.stylize_owned(frame)?;
        let spent = start.elapsed();
        drop(painting);
        Ok(spent)
    };
    let cold = one()?;
    let runs = repeat(length, one)?;
    if let Some(note) = stylizer.take_notes().into_iter().next() {
        return Err(Error::new(note).with_hint("measure smaller pictures, or with `--device cpu`"));
    }
    let count = MORE * runs.len();
    let times = card.times(size, count)?;
    let mut alone: Vec<_> = times.milliseconds.iter().map(|&ms| Duration::from_secs_f64(f64::from(ms) / 1e3)).collect();
    alone.sort_unstable();
    let under_way = clip(stylizer, &frame, count)?.as_secs_f64() / count as f64;
    Ok((cold, runs, CardRates { alone: median(&alone), under_way, memory: times.memory }))
}

/// The time that `count` frames of a clip take, after some that do not count.
fn clip(stylizer: &Stylizer, frame: &Picture, count: usize) -> Result<Duration> {
    let mut flight = Flight::new(stylizer);
    for _ in 0..MORE {
        flight.push(Some(frame.clone()))?;
    }
    let start = Instant::now();
    for _ in 0..count {
        flight.push(Some(frame.clone()))?;
    }
    let spent = start.elapsed();
    while flight.push(None)?.is_some() {}
    Ok(spent)
}

/// A picture without any likeness.
fn frame((height, width): (usize, usize)) -> Picture {
    let level = |x: u32, y: u32, colour: u32| {
        ((y * width as u32 + x).wrapping_mul(3).wrapping_add(colour).wrapping_mul(7919)) as u8
    };
    image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        image::Rgb([0, 1, 2].map(|colour| level(x, y, colour)))
    })
    .into()
}
