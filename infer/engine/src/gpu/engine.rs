//! One style's network on a GPU: pictures in, paintings out. The GPU's own thread ([`super::worker`]) does the work.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::super::gpu_painter::{Blend, FrameInFlight, GpuAnswer, GpuPainter, GpuTimes, PixelFrame};
use super::super::{PaintPrecision, Rows, Sink, Statistics};
use super::fold;
use super::program::program;
use super::worker::{GpuHandle, PaintAnswer, PaintOrder, PixelData, lost};
use impasto_common::network::Network;
use impasto_common::weights::Tensors;
use impasto_error::{Error, Result};
use impasto_kernels::gpu::Value;
use impasto_kernels::gpu::paint::{CONTROLS, Pixels};
use impasto_kernels::machine;

/// Rows of a painting that are handed on at a time.
const BAND: usize = 64;

/// Copies of a picture's levels in the host's memory: the levels, and page-locked copies on the way to the GPU and back.
const COPIES: u64 = 3;

/// One style's network on a GPU.
pub(in super::super) struct GpuEngine {
    description: Network,
    precision: PaintPrecision,
    value: Value,
    gpu: Arc<GpuHandle>,
    /// The network's index on the GPU.
    network: usize,
    /// Channels of each normalisation: the network's own count, and the padded count on the GPU.
    channels: Vec<(usize, usize)>,
}

impl fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuEngine")
            .field("description", &self.description)
            .field("gpu", &self.name())
            .finish_non_exhaustive()
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        self.gpu.unload(self.network);
    }
}

impl GpuEngine {
    /// Puts a network's weights on the GPU with this ordinal: see [`crate::Engine::new`]. Default precision: f16.
    ///
    /// # Errors
    ///
    /// If there is no such GPU, it has too little memory, or a tensor is missing or does not have the shape in
    /// `description`.
    pub(in super::super) fn new(
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
        let gpu = GpuHandle::of(ordinal)?;
        let real = description.normalized_channels();
        let channels = real.into_iter().zip(weights.filters.iter().map(|filter| filter.norm.len())).collect();
        let network = gpu.load(weights, value)?;
        Ok(Self { description: description.clone(), precision, value, gpu, network, channels })
    }

    /// The inputs of a painting besides the frame: its controls, and the statistics of earlier frames, in the GPU's order.
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

impl GpuPainter for GpuEngine {
    fn name(&self) -> &str {
        self.gpu.name()
    }

    fn precision(&self) -> PaintPrecision {
        self.precision
    }

    fn begin(
        &self,
        frame: PixelFrame,
        blend: Blend,
        statistics: &Statistics,
    ) -> Result<Box<dyn FrameInFlight>, (PixelFrame, String)> {
        let PixelFrame { bytes, channels, size } = frame;
        let frame = |bytes| PixelFrame { bytes, channels, size };
        let (height, width) = size;
        if bytes.len() != height * width * channels {
            return Err((frame(bytes), "its bytes do not match its size".into()));
        }
        let program = match program(&self.description, size) {
            Ok(program) => program,
            Err(reason) => return Err((frame(bytes), reason)),
        };
        let before = self.before(blend, statistics);
        let order = PaintOrder { network: self.network, program, pixels: Pixels::Bytes(channels), before };
        let answer = self.gpu.begin_painting(order, PixelData::Bytes(bytes));
        Ok(Box::new(FrameOnGpu { answer, channels, size, layers: self.channels.clone() }))
    }

    fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<GpuAnswer> {
        let size = picture.size();
        let (height, width) = size;
        // If it is too small, the CPU's engine reports it again.
        let program = match program(&self.description, size) {
            Ok(program) => program,
            Err(reason) => return Ok(GpuAnswer::Refused(reason)),
        };
        let bytes = COPIES * Pixels::Levels.bytes(size) as u64;
        if bytes > memory {
            let (needed, allowed) = (bytes >> 20, memory >> 20);
            return Ok(GpuAnswer::Refused(format!(
                "the GPU paints it as a whole, which needs {needed} MiB of main memory, but only {allowed} MiB are allowed"
            )));
        }
        let levels = read(picture)?;
        let before = self.before(Blend { strength: 1.0, keep_colors: false }, statistics);
        let order = PaintOrder { network: self.network, program, pixels: Pixels::Levels, before };
        let answer = received(&self.gpu.begin_painting(order, PixelData::Levels(levels)))?;
        let GpuAnswer::Painted(note) = answer.answer else { return Ok(answer.answer) };
        statistics.replace(unpacked(&answer.after, &self.channels));
        let PixelData::Levels(levels) = answer.data else { return Err(lost()) };
        let plane = height * width;
        let mut band = Vec::new();
        for first in (0..height).step_by(BAND) {
            band.clear();
            for y in first..height.min(first + BAND) {
                (0..3).for_each(|colour| band.extend_from_slice(&levels[colour * plane + y * width..][..width]));
            }
            sink(first, &mut band)?;
        }
        Ok(GpuAnswer::Painted(note))
    }

    fn times(&self, size: (usize, usize), runs: usize) -> Result<GpuTimes> {
        let program = program(&self.description, size).map_err(Error::new)?;
        let before = self.before(Blend { strength: 1.0, keep_colors: false }, &Statistics::own());
        self.gpu.time(PaintOrder { network: self.network, program, pixels: Pixels::Bytes(3), before }, runs)
    }

    fn release(&self) {
        self.gpu.release(self.network);
    }

    fn peak_flops(&self) -> Result<f64> {
        Ok(machine::gpu_peak_flops(self.gpu.ordinal(), self.value)?)
    }
}

/// A frame that the GPU's thread is painting.
#[derive(Debug)]
struct FrameOnGpu {
    answer: Receiver<Result<PaintAnswer>>,
    channels: usize,
    size: (usize, usize),
    layers: Vec<(usize, usize)>,
}

impl FrameInFlight for FrameOnGpu {
    fn finish(self: Box<Self>, statistics: &mut Statistics) -> Result<(PixelFrame, GpuAnswer)> {
        let PaintAnswer { data, after, answer } = received(&self.answer)?;
        if matches!(answer, GpuAnswer::Painted(_)) {
            statistics.replace(unpacked(&after, &self.layers));
        }
        let PixelData::Bytes(bytes) = data else { return Err(lost()) };
        Ok((PixelFrame { bytes, channels: self.channels, size: self.size }, answer))
    }
}

fn received(answer: &Receiver<Result<PaintAnswer>>) -> Result<PaintAnswer> {
    answer.recv().map_err(|_| lost())?
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

/// Mean and variance by layer, without the padding channels of the GPU.
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
    fn padding_channels_of_the_gpu_are_left_out() {
        let after: Vec<_> = (0..32).map(f64::from).collect();
        let layers = unpacked(&after, &[(1, 8), (2, 8)]);
        assert_eq!(layers, [vec![[0.0, 1.0]], vec![[16.0, 17.0], [18.0, 19.0]]]);
    }
}
