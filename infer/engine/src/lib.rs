//! The inference engine: paints pictures of any size with a [`StyleModel`](impasto_common::model_file::StyleModel)'s network, on
//! the CPU, within a bound on memory; [`AnyEngine`] paints on a card where there is one.
//!
//! Weights are packed once. Pictures lie in memory row by row, all channels of a row together, so that a band of rows is
//! one slice. A convolution reads its input unnormalised and normalises it on the way into the registers, and takes the
//! moments of its result on the way out; so no picture is ever read or written for a normalisation's sake, but for the
//! residual blocks' sums.
//!
//! The statistics of an instance normalisation are the network's only global coupling. The engine therefore makes one pass
//! for every normalisation. What a pass reads is kept from the pass before, in memory or in a file, or computed again row by
//! row if there is no room: the painting does not depend on the choice, beyond the rounding of the statistics.

#![forbid(unsafe_code)]

mod any;
mod chain;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod gpu_painter;
mod memory;
mod spill;
mod statistics;
mod store;

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use chain::{Chain, Conv, Node, Source};
use impasto_common::network::{Network, StyleNetConfig, values};
use impasto_common::weights::Tensors;
use impasto_error::{Error, Result};
use impasto_kernels::conv::Direct;
use impasto_kernels::geometry::Geometry;
use impasto_kernels::layout::{Moments, Normal};
use impasto_kernels::rows::{add_normalised, join_nine, normalise_rows};
use impasto_kernels::simd::Level;
use impasto_kernels::winograd::{Kind, NINE_BORDER, Prepared};
use memory::Plan;
use store::{Pool, Store};

pub use any::{AnyEngine, Begun, Outcome, RefusedFrame, Ticket};
pub use gpu_painter::{Blend, FrameUnderWay, GpuPainter, GpuTimes, PixelFrame};
pub use memory::default_memory;
pub use statistics::Statistics;

/// Added to every variance, as [`impasto_nn::ops::InstanceNorm`] does by default.
const EPSILON: f64 = 1e-5;

/// A picture that the engine reads from top to bottom, several times.
pub trait Rows {
    /// Height and width in pixels.
    fn size(&self) -> (usize, usize);

    /// Reads the rows from `first` on, RGB in `[0, 255]`: `rows[i]` takes red, green and blue of row `first + i`, each of
    /// the picture's width.
    ///
    /// `first` is where the last call ended, or 0.
    ///
    /// # Errors
    ///
    /// If the picture cannot be read.
    fn read(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()>;
}

/// Takes the painting from top to bottom: the first row of a band, and the band, `(rows, 3, width)`, RGB nominally in
/// `[0, 255]`, not clamped, which it may change.
pub type Sink<'a> = dyn FnMut(usize, &mut [f32]) -> Result<()> + 'a;

/// The numbers that products are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaintPrecision {
    /// Single precision: within 1 of 255 levels of PyTorch.
    #[default]
    F32,
    /// bf16, summed in single precision, wherever that is faster; for processors that have `AVX512_BF16`, and for cards.
    Bf16,
    /// f16, summed in single precision; for cards.
    F16,
}

impl fmt::Display for PaintPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for PaintPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err("expected `f32`, `bf16` or `f16`".into()),
        }
    }
}

impl PaintPrecision {
    /// Whether this machine's processor can compute so.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn check(self) -> Result<()> {
        if self == Self::F16 {
            return Err(
                Error::usage("a processor does not paint in f16, a card does").with_hint("use `f32`, or `bf16`")
            );
        }
        if self == Self::Bf16 && !Level::detect().has_pairs() {
            return Err(Error::usage("this processor has no bf16 products (AVX512_BF16)").with_hint("use `f32`"));
        }
        Ok(())
    }
}

/// One style's network, ready to paint.
pub struct Engine {
    config: StyleNetConfig,
    encoder: [Layer; 3],
    blocks: Vec<[Layer; 2]>,
    decoder: [Layer; 2],
    output: Conv,
    output_bias: Vec<f32>,
    /// What is kept from one picture to the next.
    pool: Mutex<Pool>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A convolution, and the normalisation that follows it. The convolution's bias changes nothing: it is left out.
struct Layer {
    conv: Conv,
    weight: Vec<f32>,
    bias: Vec<f32>,
    relu: bool,
}

impl Layer {
    fn normals(&self, moments: &[Moments]) -> Vec<Normal> {
        let affine = self.weight.iter().zip(&self.bias);
        let of =
            |(moments, (&weight, &bias)): (&Moments, (&f32, &f32))| moments.normal(weight, bias, EPSILON, self.relu);
        moments.iter().zip(affine).map(of).collect()
    }
}

impl Engine {
    /// Packs the weights of a network, named as the network's description names them, for this machine.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or of another shape than `config` asks for, or the processor lacks `precision`.
    pub fn new(config: &StyleNetConfig, tensors: &Tensors, precision: PaintPrecision) -> Result<Self> {
        precision.check()?;
        Self::with_level(config, tensors, precision, Level::detect())
    }

    fn with_level(config: &StyleNetConfig, tensors: &Tensors, precision: PaintPrecision, level: Level) -> Result<Self> {
        let [c1, c2, c4] = [1, 2, 4].map(|factor| factor * config.channels);
        let read = Reader { tensors, level, precision };
        let block = |i: usize| -> Result<[Layer; 2]> {
            let name = |part: &str| format!("res{i}.{part}");
            Ok([
                read.layer((&name("conv1"), &name("in1")), (c4, c4, 3), Step::Same, true)?,
                read.layer((&name("conv2"), &name("in2")), (c4, c4, 3), Step::Same, false)?,
            ])
        };
        Ok(Self {
            config: *config,
            encoder: [
                read.layer(("conv1", "in1"), (3, c1, 9), Step::First, true)?,
                read.layer(("conv2", "in2"), (c1, c2, 3), Step::Half, true)?,
                read.layer(("conv3", "in3"), (c2, c4, 3), Step::Half, true)?,
            ],
            blocks: (1..=config.blocks).map(block).collect::<Result<_>>()?,
            decoder: [
                read.layer(("deconv1", "in4"), (c4, c2, 3), Step::Double, true)?,
                read.layer(("deconv2", "in5"), (c2, c1, 3), Step::Double, true)?,
            ],
            output: read.conv("deconv3", (c1, 3, 9), Step::Last)?,
            output_bias: read.values("deconv3.conv2d.bias", &[3])?,
            pool: Mutex::new(Pool::default()),
        })
    }

    /// Sizes of the network.
    #[must_use]
    pub fn config(&self) -> &StyleNetConfig {
        &self.config
    }

    /// Paints `picture` into `sink`, using about `memory` bytes besides the weights and what the picture and the sink
    /// hold; [`default_memory`] is a good choice. Less memory takes longer, and past a point the rest of it goes to
    /// unnamed files in the folder for temporary ones.
    ///
    /// # Errors
    ///
    /// If a side of the picture is shorter than [`Network::MIN_SIZE`], `memory` is too small for a few rows of the picture,
    /// there is no room for temporary files, or the picture or the sink fails.
    pub fn paint(&self, picture: &mut dyn Rows, memory: u64, sink: &mut Sink) -> Result<()> {
        self.paint_steadily(picture, memory, &mut Statistics::own(), sink)
    }

    /// The same for one of many frames, with normalisations that follow `statistics`: see [`Statistics::over_frames`].
    ///
    /// # Errors
    ///
    /// As [`Self::paint`].
    pub fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<()> {
        let (height, width) = picture.size();
        if height.min(width) < Network::MIN_SIZE {
            return Err(Error::new(format!(
                "a picture of {width}x{height} pixels is too small: both sides need at least {}",
                Network::MIN_SIZE
            )));
        }
        let plan = Plan::new(&self.config, (height, width), memory)?;
        // Two pictures painted at once with one engine each have a pool; that of the last is kept.
        let mut pool = self.pool.lock().map(|mut pool| std::mem::take(&mut *pool)).unwrap_or_default();
        statistics.rewind();
        let painted = self.paint_planned(picture, &plan, &mut pool, statistics, sink);
        if let Ok(mut kept) = self.pool.lock() {
            *kept = pool;
        }
        painted
    }

    /// Gives back the memory that is kept for the next picture, which then takes a little longer.
    pub fn release(&self) {
        if let Ok(mut kept) = self.pool.lock() {
            *kept = Pool::default();
        }
    }

    fn paint_planned(
        &self,
        picture: &mut dyn Rows,
        plan: &Plan,
        pool: &mut Pool,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<()> {
        let (height, width) = picture.size();
        let sizes = plan.sizes();
        let [c1, c2, c4] = [1, 2, 4].map(|factor| factor * self.config.channels);

        // Down to a quarter of the size.
        let mut chain = Chain::new(Node::new(Source::Picture(picture), Store::window(3, sizes.picture, NINE_BORDER)));
        let mut normals = None;
        for (i, (layer, channels)) in self.encoder.iter().zip([c1, c2, c4]).enumerate() {
            let store = plan.store([plan.first, plan.second, plan.trunk][i], channels, sizes.down[i], 0, pool)?;
            chain.push(Node::new(Source::Conv(&layer.conv, normals.take()), store));
            let moments = statistics.follow(chain.pass(i + 1, plan.bands[i], pool)?);
            chain.forget_below(i + 1, pool);
            normals = Some(layer.normals(&moments));
        }
        let mut trunk = chain.into_last(pool);
        trunk.each_band(plan.bands[2], |band| {
            normalise_rows(band, normals.as_deref().unwrap_or_default(), sizes.down[2].1);
        })?;

        // The residual blocks.
        for [first, second] in &self.blocks {
            let store = plan.store(plan.trunk, c4, sizes.down[2], 0, pool)?;
            let mut chain = Chain::new(Node::new(Source::Given, trunk));
            chain.push(Node::new(Source::Conv(&first.conv, None), store));
            let normals = first.normals(&statistics.follow(chain.pass(1, plan.bands[2], pool)?));
            let (x, ys) = chain.into_two();
            trunk = x;
            let store = plan.store(plan.trunk, c4, sizes.down[2], 0, pool)?;
            let mut chain = Chain::new(Node::new(Source::Given, ys));
            chain.push(Node::new(Source::Conv(&second.conv, Some(normals)), store));
            let normals = second.normals(&statistics.follow(chain.pass(1, plan.bands[2], pool)?));
            let (ys, mut zs) = chain.into_two();
            ys.give_back(pool);
            trunk.each_band_with(&mut zs, plan.bands[2], |band, zs| {
                add_normalised(band, zs, &normals, sizes.down[2].1);
            })?;
            zs.give_back(pool);
        }

        // Up again.
        let mut chain = Chain::new(Node::new(Source::Given, trunk));
        let mut normals = None;
        for (i, (layer, channels)) in self.decoder.iter().zip([c2, c1]).enumerate() {
            let border = if i == 1 { NINE_BORDER } else { 0 };
            let store = plan.store([plan.second, plan.first][i], channels, sizes.up[i], border, pool)?;
            chain.push(Node::new(Source::Conv(&layer.conv, normals.take()), store));
            let moments = statistics.follow(chain.pass(i + 1, plan.bands[3 + i], pool)?);
            chain.forget_below(i + 1, pool);
            normals = Some(layer.normals(&moments));
        }
        let parts = (height + 6, width + 6);
        chain.push(Node::new(Source::Conv(&self.output, normals), Store::window(27, parts, 0)));
        let mut painted = Vec::new();
        for first in (0..height).step_by(plan.bands[5]) {
            let rows = first..height.min(first + plan.bands[5]);
            let (parts, from) = chain.rows(3, rows.start..rows.end + 6, pool)?;
            painted.resize(rows.len() * 3 * width, 0.0);
            let skipped = (rows.start - from) * 27 * (width + 6);
            join_nine(&parts[skipped..], width + 6, &self.output_bias, width, &mut painted);
            sink(rows.start, &mut painted)?;
        }
        chain.give_back(pool);
        Ok(())
    }
}

/// The place of a convolution: what it does to height and width, and the 9x9 ones at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    First,
    Last,
    Same,
    Half,
    Double,
}

/// Takes weights out of a model.
struct Reader<'a> {
    tensors: &'a Tensors,
    level: Level,
    precision: PaintPrecision,
}

impl Reader<'_> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(values(self.tensors, name, shape)?.to_vec())
    }

    fn conv(&self, name: &str, (inputs, outputs, kernel): (usize, usize, usize), step: Step) -> Result<Conv> {
        let weight = self.values(&format!("{name}.conv2d.weight"), &[outputs, inputs, kernel, kernel])?;
        let kind = match step {
            Step::Half => {
                // The size of the picture does not matter here.
                let (batch, height, width) = (1, Network::MIN_SIZE, Network::MIN_SIZE);
                let (upsample, pad, reflect, stride, relu) = (1, 1, true, 2, false);
                let g =
                    Geometry { batch, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu };
                return Ok(Conv::Half { direct: Direct::new(self.level, &g, &weight), geometry: g });
            }
            Step::First => Kind::NineIn,
            Step::Last => Kind::NineOut,
            Step::Same => Kind::Three { upsample: 1 },
            Step::Double => Kind::Three { upsample: 2 },
        };
        // The first layer tells small differences of large levels from nothing: rounded, flat parts of a photo get strokes
        // of their own. It stays as it is, at a few hundredths of the time.
        let pairs = self.precision == PaintPrecision::Bf16 && kind != Kind::NineIn;
        Ok(Conv::Winograd { prepared: Prepared::new(self.level, kind, inputs, outputs, &weight, pairs), kind })
    }

    fn layer(&self, (conv, norm): (&str, &str), shape: (usize, usize, usize), step: Step, relu: bool) -> Result<Layer> {
        Ok(Layer {
            conv: self.conv(conv, shape, step)?,
            weight: self.values(&format!("{norm}.weight"), &[shape.1])?,
            bias: self.values(&format!("{norm}.bias"), &[shape.1])?,
            relu,
        })
    }
}

#[cfg(test)]
mod tests;
