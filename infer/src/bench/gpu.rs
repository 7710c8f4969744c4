//! Measures how fast a GPU paints: on the GPU alone, frame by frame, and with several frames in flight.

use std::time::{Duration, Instant};

use impasto_common::{Error, Result};
use impasto_engine::GpuPainter;
use impasto_picture::Picture;

use super::measurement::GpuRates;
use super::{Length, median, repeat};
use crate::video::FramePainter;
use crate::{PipelinedPainter, Stylizer};

/// The number of runs on the GPU alone, and of frames of a clip, per individually timed run.
const MORE: usize = 10;

/// The time of the first frame, the times of the others, the fastest first, and the rates of `gpu`, which `stylizer` paints on.
pub(super) fn measure(
    stylizer: &Stylizer,
    gpu: &dyn GpuPainter,
    size: (usize, usize),
    length: Length,
) -> Result<(Duration, Vec<Duration>, GpuRates)> {
    let frame = frame(size);
    let one = || -> Result<Duration> {
        let frame = frame.clone();
        let start = Instant::now();
        // Dropped after the time is taken.
        let _painted = stylizer.stylize_owned(frame)?;
        Ok(start.elapsed())
    };
    let cold = one()?;
    // A picture that the GPU cannot paint, and that the CPU has therefore painted, is an error here.
    let smaller = |error: Error| error.with_hint("measure smaller pictures, or use `--device cpu`");
    gpu.times(size, 1).map_err(smaller)?;
    let runs = repeat(length, one)?;
    let count = MORE * runs.len();
    let times = gpu.times(size, count)?;
    let mut alone: Vec<_> = times.milliseconds.iter().map(|&ms| Duration::from_secs_f64(f64::from(ms) / 1e3)).collect();
    alone.sort_unstable();
    let in_flight = clip(stylizer, &frame, count)?.as_secs_f64() / count as f64;
    let rates = GpuRates { alone: median(&alone), in_flight, memory: times.memory, graph_failure: times.graph_failure };
    Ok((cold, runs, rates))
}

/// The time that `count` frames of a clip take, after some warm-up frames.
fn clip(stylizer: &Stylizer, frame: &Picture, count: usize) -> Result<Duration> {
    let mut painter = PipelinedPainter::new(stylizer);
    for _ in 0..MORE {
        painter.push(Some(frame.clone()))?;
    }
    let start = Instant::now();
    for _ in 0..count {
        painter.push(Some(frame.clone()))?;
    }
    let spent = start.elapsed();
    while painter.push(None)?.is_some() {}
    Ok(spent)
}

/// A picture of noise.
fn frame((height, width): (usize, usize)) -> Picture {
    let level = |x: u32, y: u32, colour: u32| {
        ((y * width as u32 + x).wrapping_mul(3).wrapping_add(colour).wrapping_mul(7919)) as u8
    };
    image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        image::Rgb([0, 1, 2].map(|colour| level(x, y, colour)))
    })
    .into()
}
