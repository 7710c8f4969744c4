//! Runs a painting's steps as kernels and convolutions of a [`GpuMachine`]. [`steps`](crate::steps) defines each step.

use candle_core::Result;

use super::launch::{Argument, Launch, Place, THREADS, blocks};
use super::machine::{Buffer, Convolution, Direction, GpuMachine};
use super::source::KernelSource;
use super::value::Value;
use crate::steps::{CHANNELS, COLOURS, Field, Lattice, MOMENTS, PaddingMode, PaintStep, Program, Weights, tiles};

/// Pixels of one thread where a picture is normalised: `PIXELS` of `paint.cu`.
const PIXELS: usize = 4;

/// Control values of a painting: the weight of the earlier frames in the statistics, the strength, and whether colours are
/// kept.
pub const CONTROLS: usize = 3;

/// Weight, bias, unit and the sums of each colour's weights, see [`crate::steps::Channel`].
const CONSTANTS: usize = 3 + COLOURS;

/// The layout of a frame and of its painting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pixels {
    /// This many bytes per pixel, 3 or 4; the fourth is kept unchanged.
    Bytes(usize),
    /// f32 levels, `(3, height, width)`; the painting's are not clamped.
    Levels,
}

impl Pixels {
    /// Bytes of a frame.
    #[must_use]
    pub fn bytes(self, (height, width): (usize, usize)) -> usize {
        let each = match self {
            Self::Bytes(each) => each,
            Self::Levels => 12,
        };
        each * height * width
    }
}

/// The addresses of all memory that a painting reads and writes.
#[derive(Debug, Clone)]
pub struct Places {
    /// `(outputs, kernel, kernel, inputs)` of each layer.
    pub filters: Vec<Place>,
    /// f32: [`CONSTANTS`] of each channel of each normalisation.
    pub constants: Place,
    /// f32: [`Weights::join`].
    pub join: Place,
    /// Pictures: [`Program::arena`] elements.
    pub arena: Place,
    /// f32: [`Program::partials`].
    pub partials: Place,
    /// f32: the mean of each colour of the frame.
    pub centre: Place,
    /// f32: mean, factor and bias of each channel of each normalisation.
    pub normals: Place,
    /// f64: [`CONTROLS`] numbers, then mean and variance of each channel from the earlier frames.
    pub before: Place,
    /// f64: the same of this frame, without the controls.
    pub after: Place,
    /// The frame, in the layout given by [`Pixels`].
    pub frame: Place,
    /// The painting, in the layout given by [`Pixels`].
    pub painting: Place,
}

/// A painting to be launched.
#[derive(Debug, Clone, Copy)]
pub struct Paint<'a> {
    /// Its steps.
    pub program: &'a Program,
    /// The network's weights.
    pub weights: &'a Weights,
    /// The number type of filters and of pictures in the arena.
    pub value: Value,
    /// The layout of the frame and the painting.
    pub pixels: Pixels,
}

impl Paint<'_> {
    /// Starts all steps.
    ///
    /// # Errors
    ///
    /// If the machine has no algorithm for one of the convolutions, or fails.
    ///
    /// # Panics
    ///
    /// If a step names a layer that the weights lack.
    pub fn start<M: GpuMachine>(&self, machine: &M, places: &Places) -> Result<()> {
        let started = Started { paint: self, machine, places };
        self.program.steps.iter().try_for_each(|step| started.step(step))
    }

    /// The convolution of a step, as passed to cuDNN.
    ///
    /// # Panics
    ///
    /// If the weights have no such layer.
    #[must_use]
    pub fn convolution(&self, from: &Field, layer: usize) -> Convolution {
        let filter = &self.weights.filters[layer];
        Convolution {
            value: self.value,
            last: true,
            batch: 1,
            inputs: filter.inputs,
            outputs: filter.outputs,
            height: from.height,
            width: from.width,
            kernel: filter.kernel,
            pad: 0,
            stride: filter.stride,
        }
    }
}

struct Started<'a, M> {
    paint: &'a Paint<'a>,
    machine: &'a M,
    places: &'a Places,
}

impl<M: GpuMachine> Started<'_, M> {
    fn step(&self, step: &PaintStep) -> Result<()> {
        let (height, width) = self.paint.program.size;
        let (bytes, levels, stride) = match self.paint.pixels {
            Pixels::Bytes(stride) => (true, false, stride),
            Pixels::Levels => (false, true, 0),
        };
        let places = self.places;
        let only = |wanted: bool, place: Place| if wanted { place } else { Place::NONE };
        match *step {
            PaintStep::Survey => {
                let (frame, pixels) = (places.frame, height * width);
                let (count, each) = tiles(pixels);
                let pictures = [only(bytes, frame), only(levels, frame), places.partials];
                self.launch("survey", count, &pictures, &[pixels, stride, each], &[])?;
                self.launch("merge_survey", COLOURS, &[places.partials, places.centre], &[count, pixels], &[])
            }
            PaintStep::Expand { to, side, lead, padding_mode } => {
                let frame = places.frame;
                let sizes = [height, width, stride, to.height, to.width, to.channels, side, lead, code(padding_mode)];
                let pictures = [only(bytes, frame), only(levels, frame), places.centre, self.at(&to)];
                self.launch("expand", blocks(to.len() / CHANNELS), &pictures, &sizes, &self.zeros())
            }
            PaintStep::Convolve { from, to, layer } => {
                let convolution = self.paint.convolution(&from, layer);
                let arguments = [self.at(&from), places.filters[layer]];
                self.machine.convolve(Direction::Forward, &convolution, arguments, self.at(&to))
            }
            PaintStep::Measure { from, lattice, layer } => self.measure(&from, lattice, layer),
            PaintStep::Apply { .. } => self.apply(step),
            PaintStep::Join { from, side } => {
                let (frame, painting) = (places.frame, places.painting);
                let pictures = [
                    self.at(&from),
                    places.join,
                    places.before,
                    only(bytes, frame),
                    only(levels, painting),
                    only(bytes, painting),
                ];
                let sizes = [height, width, stride, from.width, from.channels, side];
                self.launch("join", blocks(height * width), &pictures, &sizes, &[])
            }
        }
    }

    fn measure(&self, from: &Field, lattice: Lattice, layer: usize) -> Result<()> {
        let (places, Lattice { phases, skip, height, width }) = (self.places, lattice);
        let (tiles, pixels) = from.tiles();
        let sizes = [from.height, from.width, from.channels, phases, skip, height, width, pixels];
        self.launch("measure", tiles, &[self.at(from), places.partials], &sizes, &[])?;
        let channels = lattice.channels(from);
        let before = self.paint.weights.channels_before(layer);
        let pictures = [
            places.partials,
            places.constants.after(before * CONSTANTS * size_of::<f32>()),
            places.centre,
            places.before,
            places.before.after(CONTROLS * size_of::<f64>()),
            places.after,
            self.normals(layer),
        ];
        let sizes = [tiles, channels, phases, before];
        let [red, green, blue] = self.zeros();
        let epsilon = self.paint.weights.filters[layer].epsilon.into();
        self.launch("merge_tiles", channels, &pictures, &sizes, &[red, green, blue, epsilon])
    }

    fn apply(&self, step: &PaintStep) -> Result<()> {
        let &PaintStep::Apply { from, lattice, layer, relu, residual, padding_mode, pad, to } = step else {
            return Ok(());
        };
        let (channels, Lattice { phases, skip, height, width }) = (lattice.channels(&from), lattice);
        let (addend, pitch, lead) = residual
            .map_or((Place::NONE, 0, 0), |residual| (self.at(&residual.field), residual.field.width, residual.lead));
        let pictures = [self.at(&from), addend, self.normals(layer), self.at(&to)];
        let sizes = [
            height,
            width,
            from.width,
            channels,
            phases,
            skip,
            to.height,
            to.width,
            pad,
            code(padding_mode),
            pitch,
            lead,
        ];
        let flags = [relu.into()];
        // Threads beyond a whole number of channel groups do nothing.
        let lanes = THREADS / (channels / CHANNELS);
        self.launch("apply", to.pixels().div_ceil(PIXELS * lanes), &pictures, &sizes, &flags)
    }

    /// The levels that correspond to the network's 0.
    fn zeros(&self) -> [Argument; COLOURS] {
        self.paint.weights.zero.map(Argument::from)
    }

    fn at(&self, field: &Field) -> Place {
        self.places.arena.after(field.at * self.paint.value.bytes())
    }

    fn normals(&self, layer: usize) -> Place {
        self.places.normals.after(self.paint.weights.channels_before(layer) * MOMENTS * size_of::<f32>())
    }

    fn launch(
        &self,
        kernel: &'static str,
        blocks: usize,
        places: &[Place],
        sizes: &[usize],
        others: &[Argument],
    ) -> Result<()> {
        let places = places.iter().map(|&place| place.into());
        let sizes = sizes.iter().map(|&size| size.into());
        let arguments: Vec<_> = places.chain(sizes).chain(others.iter().copied()).collect();
        let (source, value) = (KernelSource::Paint, self.paint.value);
        self.machine.launch(&Launch { source, value, kernel, grid: [blocks, 1, 1], arguments: &arguments })
    }
}

/// The kernels' code for a kind of padding.
fn code(padding_mode: PaddingMode) -> usize {
    match padding_mode {
        PaddingMode::Replicate => 0,
        PaddingMode::Reflect => 1,
        PaddingMode::Zero => 2,
    }
}

/// A network's weights in the memory of a machine.
pub struct Loaded<M: GpuMachine> {
    filters: Vec<M::Buffer>,
    constants: M::Buffer,
    join: M::Buffer,
}

impl<M: GpuMachine> Loaded<M> {
    /// Uploads the weights, filters rounded to `value`.
    ///
    /// # Errors
    ///
    /// If the machine has not enough memory.
    pub fn new(machine: &M, weights: &Weights, value: Value) -> Result<Self> {
        let filters = weights.filters.iter().map(|filter| machine.upload(&words(&filter.weight, value)));
        let channels = weights.filters.iter().flat_map(|filter| &filter.norm);
        let constants = channels.flat_map(|c| [c.weight, c.bias, c.unit].into_iter().chain(c.sums));
        let constants: Vec<_> = constants.collect();
        Ok(Self {
            filters: filters.collect::<Result<_>>()?,
            constants: machine.upload(&words(&constants, Value::F32))?,
            join: machine.upload(&words(&weights.join, Value::F32))?,
        })
    }
}

/// The memory of one painting besides the weights.
pub struct Room<M: GpuMachine> {
    /// See [`Places::arena`].
    pub arena: M::Buffer,
    /// See [`Places::partials`].
    pub partials: M::Buffer,
    /// See [`Places::centre`].
    pub centre: M::Buffer,
    /// See [`Places::normals`].
    pub normals: M::Buffer,
    /// See [`Places::before`].
    pub before: M::Buffer,
    /// See [`Places::after`].
    pub after: M::Buffer,
    /// See [`Places::frame`].
    pub frame: M::Buffer,
    /// See [`Places::painting`].
    pub painting: M::Buffer,
}

impl<M: GpuMachine> Room<M> {
    /// Allocates the memory. Its content is undefined.
    ///
    /// # Errors
    ///
    /// If the machine has not enough memory.
    pub fn new(machine: &M, paint: &Paint) -> Result<Self> {
        let Paint { program, weights, value, pixels, .. } = *paint;
        let channels = weights.channels_before(weights.filters.len());
        let frame = pixels.bytes(program.size);
        Ok(Self {
            arena: machine.buffer(program.arena * value.bytes())?,
            partials: machine.buffer(program.partials * size_of::<f32>())?,
            centre: machine.buffer(COLOURS * size_of::<f32>())?,
            normals: machine.buffer(channels * MOMENTS * size_of::<f32>())?,
            before: machine.buffer((CONTROLS + 2 * channels) * size_of::<f64>())?,
            after: machine.buffer(2 * channels * size_of::<f64>())?,
            frame: machine.buffer(frame)?,
            painting: machine.buffer(frame)?,
        })
    }

    /// The addresses of all buffers.
    pub fn places(&self, loaded: &Loaded<M>) -> Places {
        Places {
            filters: loaded.filters.iter().map(Buffer::place).collect(),
            constants: loaded.constants.place(),
            join: loaded.join.place(),
            arena: self.arena.place(),
            partials: self.partials.place(),
            centre: self.centre.place(),
            normals: self.normals.place(),
            before: self.before.place(),
            after: self.after.place(),
            frame: self.frame.place(),
            painting: self.painting.place(),
        }
    }
}

/// Numbers in memory order, padded to whole words.
fn words(numbers: &[f32], value: Value) -> Vec<u64> {
    let mut bytes: Vec<u8> = match value {
        Value::F32 => numbers.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        Value::Bf16 => numbers.iter().flat_map(|&x| half::bf16::from_f32(x).to_ne_bytes()).collect(),
        Value::F16 => numbers.iter().flat_map(|&x| half::f16::from_f32(x).to_ne_bytes()).collect(),
    };
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect()
}
