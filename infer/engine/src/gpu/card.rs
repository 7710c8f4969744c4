//! A network on a card, as the rest of the program sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::super::{Blend, PaintPrecision, PixelFrame, Rows, Sink, Statistics};
use super::fold;
use super::program::program;
use super::worker::{Data, Done, Order, Worker};
use impasto_common::network::Network;
use impasto_common::weights::Tensors;
use impasto_error::{Error, Result};
use impasto_kernels::cuda::launch::Value;
use impasto_kernels::cuda::paint::{CONTROLS, Pixels};

/// Rows of a painting that are handed on at a time.
const BAND: usize = 64;

/// Copies of a picture's levels in the host's memory: they themselves, and page-locked ones on the way there and back.
const COPIES: u64 = 3;

/// One style's network on a card.
pub struct GpuEngine {
    description: Network,
    precision: PaintPrecision,
    worker: Arc<Worker>,
    network: usize,
    /// Channels of each normalisation, as the network counts them and as the card does.
    channels: Vec<(usize, usize)>,
}

impl fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuEngine")
            .field("description", &self.description)
            .field("card", &self.name())
            .finish_non_exhaustive()
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        self.worker.unload(self.network);
    }
}

/// How long a card paints one frame that is there already, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuTimes {
    /// One run after another, from the frame in the card's memory to the painting there.
    pub milliseconds: Vec<f32>,
    /// Whether each run was one graph: else kernels were started one by one.
    pub as_graph: bool,
    /// Bytes of the card that the painting takes, besides the weights.
    pub memory: u64,
}

impl GpuEngine {
    /// Puts a network's weights on the card of this number: see [`crate::Engine::new`]. Default: f16.
    ///
    /// # Errors
    ///
    /// If there is no such card, its memory does not suffice, or a tensor is missing or of another shape than `description` asks for.
    pub fn new(
        description: &Network,
        tensors: &Tensors,
        ordinal: usize,
        precision: Option<PaintPrecision>,
    ) -> Result<Self> {
        let precision = precision.unwrap_or(PaintPrecision::F16);
        let (value, digits) = match precision {
            PaintPrecision::F32 => (Value::F32, 24),
            PaintPrecision::Bf16 => (Value::Bf16, 8),
            PaintPrecision::F16 => (Value::F16, 11),
        };
        let weights = fold::weights(description, tensors, digits)?;
        let worker = Worker::of(ordinal)?;
        let real = description.normalized_channels();
        let channels = real.into_iter().zip(weights.filters.iter().map(|filter| filter.norm.len())).collect();
        let network = worker.load(weights, value)?;
        Ok(Self { description: description.clone(), precision, worker, network, channels })
    }

    /// The name of the card.
    #[must_use]
    pub fn name(&self) -> &str {
        self.worker.name()
    }

    /// The number of the card.
    #[must_use]
    pub fn ordinal(&self) -> usize {
        self.worker.ordinal()
    }

    /// The numbers that products are taken of.
    #[must_use]
    pub fn precision(&self) -> PaintPrecision {
        self.precision
    }

    /// Begins to paint a frame; gives it back, with the reason, if the card cannot paint it.
    pub(in super::super) fn begin(
        &self,
        frame: PixelFrame,
        blend: Blend,
        statistics: &Statistics,
    ) -> Result<Ticket, (PixelFrame, String)> {
        let PixelFrame { bytes, channels, size } = frame;
        let frame = |bytes| PixelFrame { bytes, channels, size };
        let (height, width) = size;
        if bytes.len() != height * width * channels {
            return Err((frame(bytes), "it has more or fewer bytes than pixels".into()));
        }
        let program = match program(&self.description, size) {
            Ok(program) => program,
            Err(reason) => return Err((frame(bytes), reason)),
        };
        let before = self.before(blend, statistics);
        let order = Order { network: self.network, program, pixels: Pixels::Bytes(channels), before };
        let done = self.worker.paint(order, Data::Bytes(bytes));
        Ok(Ticket { done, channels, size, layers: self.channels.clone() })
    }

    /// Paints levels; says why if the card cannot.
    pub(in super::super) fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<Option<String>> {
        let size = picture.size();
        let (height, width) = size;
        // If it is too small, the engine for the processor says so again.
        let program = match program(&self.description, size) {
            Ok(program) => program,
            Err(reason) => return Ok(Some(reason)),
        };
        let bytes = COPIES * Pixels::Levels.bytes(size) as u64;
        if bytes > memory {
            let (needed, allowed) = (bytes >> 20, memory >> 20);
            return Ok(Some(format!(
                "a card takes it as a whole, {needed} MiB of the host's memory, of {allowed} MiB allowed"
            )));
        }
        let levels = read(picture)?;
        let before = self.before(Blend { strength: 1.0, keep_colors: false }, statistics);
        let order = Order { network: self.network, program, pixels: Pixels::Levels, before };
        let done = received(&self.worker.paint(order, Data::Levels(levels)))?;
        if let Some(reason) = done.refused {
            return Ok(Some(reason));
        }
        statistics.replace(unpacked(&done.after, &self.channels));
        let Data::Levels(levels) = done.data else { return Err(lost()) };
        let plane = height * width;
        let mut band = Vec::new();
        for first in (0..height).step_by(BAND) {
            band.clear();
            for y in first..height.min(first + BAND) {
                (0..3).for_each(|colour| band.extend_from_slice(&levels[colour * plane + y * width..][..width]));
            }
            sink(first, &mut band)?;
        }
        Ok(None)
    }

    /// Times the painting of a frame of 3 bytes a pixel on the card alone, after one that does not count.
    ///
    /// # Errors
    ///
    /// If the card cannot paint it.
    pub fn times(&self, size: (usize, usize), runs: usize) -> Result<GpuTimes> {
        let program = program(&self.description, size).map_err(Error::new)?;
        let before = self.before(Blend { strength: 1.0, keep_colors: false }, &Statistics::own());
        self.worker.time(Order { network: self.network, program, pixels: Pixels::Bytes(3), before }, runs)
    }

    /// Gives back the memory that is kept for the next picture, which then takes a little longer.
    pub fn release(&self) {
        self.worker.release(self.network);
    }

    /// What a painting is told: its controls, and the statistics of the frames before, in the card's order.
    fn before(&self, blend: Blend, statistics: &Statistics) -> Vec<f64> {
        let real: Vec<_> = self.channels.iter().map(|&(real, _)| real).collect();
        let kept = statistics.kept(&real);
        let keep = if kept.is_some() { statistics.keep() } else { 0.0 };
        let mut before = vec![keep, f64::from(blend.strength), f64::from(u8::from(blend.keep_colors))];
        debug_assert_eq!(before.len(), CONTROLS);
        for (i, &(_, padded)) in self.channels.iter().enumerate() {
            let end = before.len() + 2 * padded;
            before.extend(kept.map_or(&[][..], |layers| &layers[i]).iter().flatten());
            before.resize(end, 0.0);
        }
        before
    }
}

/// A frame that a card paints meanwhile.
#[derive(Debug)]
pub(in super::super) struct Ticket {
    done: Receiver<Result<Done>>,
    channels: usize,
    size: (usize, usize),
    layers: Vec<(usize, usize)>,
}

impl Ticket {
    /// Waits for the frame; with a reason if it is as it was.
    pub(in super::super) fn finish(self, statistics: &mut Statistics) -> Result<(PixelFrame, Option<String>)> {
        let Done { data, after, refused } = received(&self.done)?;
        if refused.is_none() {
            statistics.replace(unpacked(&after, &self.layers));
        }
        let Data::Bytes(bytes) = data else { return Err(lost()) };
        Ok((PixelFrame { bytes, channels: self.channels, size: self.size }, refused))
    }
}

fn received(done: &Receiver<Result<Done>>) -> Result<Done> {
    done.recv().map_err(|_| lost())?
}

/// The thread of the card is gone, which happens if it panicked.
pub(super) fn lost() -> Error {
    Error::new("the card's thread has ended").with_hint("use `--device cpu`")
}

/// The whole picture, `(3, height, width)`.
fn read(picture: &mut dyn Rows) -> Result<Vec<f32>> {
    let (height, width) = picture.size();
    let mut levels = vec![0.0; 3 * height * width];
    let (red, rest) = levels.split_at_mut(height * width);
    let (green, blue) = rest.split_at_mut(height * width);
    let lines = red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
    let mut rows: Vec<_> = lines.map(|((red, green), blue)| [red, green, blue]).collect();
    let mut first = 0;
    for band in rows.chunks_mut(BAND) {
        picture.read(first, band)?;
        first += band.len();
    }
    Ok(levels)
}

/// Mean and variance by layer, without the channels that only the card has.
fn unpacked(after: &[f64], layers: &[(usize, usize)]) -> Vec<Vec<[f64; 2]>> {
    let mut rest = after;
    let mut unpacked = Vec::new();
    for &(real, padded) in layers {
        let (layer, others) = rest.split_at(2 * padded);
        unpacked.push(layer.as_chunks().0[..real].to_vec());
        rest = others;
    }
    unpacked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_only_the_card_has_are_left_out() {
        let after: Vec<_> = (0..32).map(f64::from).collect();
        let layers = unpacked(&after, &[(1, 8), (2, 8)]);
        assert_eq!(layers, [vec![[0.0, 1.0]], vec![[16.0, 17.0], [18.0, 19.0]]]);
    }
}
