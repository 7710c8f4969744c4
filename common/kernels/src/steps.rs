//! A painting on a GPU, as a list of steps over one memory block, the arena.
//!
//! The list is data: `impasto_engine` makes it for a network and a size, a GPU runs it as one CUDA graph, and tests run it
//! with plain loops on the CPU, so that it can be checked without a GPU. A picture here is any feature map. Pictures are
//! stored channels last, as tensor cores need them, and include the padding of the next convolution, so no convolution pads.

/// Channels that a thread moves at a time: 16 bytes in half precision. The channel count of every picture in the arena is a
/// multiple of this.
pub const CHANNELS: usize = 8;

/// Shifted copies of the picture, per side, that are stacked as channels to turn a 9x9 convolution into a 3x3 one, see
/// [`PaintStep::Expand`].
pub const SIDE: usize = 3;
/// Number of shifted copies, [`SIDE`] squared.
pub const SHIFTS: usize = SIDE * SIDE;

/// Colours of a picture.
pub const COLOURS: usize = 3;

/// Channels of the first picture and of the last one: nine shifts of three colours, rounded up to a multiple of 8.
pub const SHIFTED: usize = (SHIFTS * COLOURS).next_multiple_of(CHANNELS);

/// Levels are divided by this as they enter the network. It is a power of two, so differences of 8-bit levels stay exact.
pub const UNIT: f32 = 128.0;

/// Number of values in a partial sum of [`PaintStep::Measure`]: count, mean, squared distances.
pub const MOMENTS: usize = 3;

/// The most tiles into which a picture is split for its statistics, and the fewest pixels of a tile. Both are fixed, so
/// that sums have the same order on every GPU.
const TILES: usize = 1024;
const TILE_PIXELS: usize = 64;

/// A picture in the arena, `(height, width, channels)`, from element `at` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The first element.
    pub at: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of a pixel, a multiple of [`CHANNELS`].
    pub channels: usize,
}

impl Field {
    /// Pixels.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Elements.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no picture is empty")]
    pub fn len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// The number of tiles for the statistics, and the pixels of each tile except the last.
    #[must_use]
    pub fn tiles(&self) -> (usize, usize) {
        tiles(self.pixels())
    }
}

/// The number of tiles for this many pixels, and the pixels of each tile except the last.
#[must_use]
pub fn tiles(pixels: usize) -> (usize, usize) {
    let each = pixels.div_ceil(TILES).max(TILE_PIXELS);
    (pixels.div_ceil(each), each)
}

/// The kind of padding beyond the edge of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingMode {
    /// Reflection: the picture is mirrored, the edge not repeated.
    Reflect,
    /// Replication: the edge pixel is repeated.
    Replicate,
    /// The network's zero (zero padding).
    Zero,
}

/// The arrangement of a convolution's results in its output picture. A convolution that upsamples stores several results in
/// the channels of one pixel (as in space to depth): pixel `(i, j)` has `phases` x `phases` results, those at
/// `(phases i - skip + a, phases j - skip + b)`. The result of phase `(a, b)` begins at channel `(phases a + b) * channels`.
/// Positions outside `height` and `width` are not results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    /// Results in a pixel, per side: 1, or 2 after a convolution that upsamples.
    pub phases: usize,
    /// Unused positions before the first result in pixel 0, per side.
    pub skip: usize,
    /// Height of the results.
    pub height: usize,
    /// Width of the results.
    pub width: usize,
}

impl Lattice {
    /// One result in a pixel.
    #[must_use]
    pub fn plain(field: &Field) -> Self {
        Self { phases: 1, skip: 0, height: field.height, width: field.width }
    }

    /// Channels of the results that `field` holds.
    #[must_use]
    pub fn channels(self, field: &Field) -> usize {
        field.channels / (self.phases * self.phases)
    }
}

/// The inner part of an earlier picture, without padding, which is added to results of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addend {
    /// The picture with its padding.
    pub field: Field,
    /// Rows and columns before the inner part.
    pub lead: usize,
}

/// One step of a painting. `layer` is the layer whose weights or normalisation are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaintStep {
    /// The mean of each colour of the frame, rounded to a level.
    Survey,
    /// The frame minus the mean of each colour, divided by [`UNIT`], as `side` x `side` shifted copies stacked as channels:
    /// channel `3 * (side a + b) + c` of pixel `(y, x)` is colour `c` of the frame's pixel
    /// `(y + 3 a - lead, x + 3 b - lead)`. Other channels are 0. The padding is not [`PaddingMode::Replicate`].
    Expand {
        /// The picture to write.
        to: Field,
        /// Shifts along each axis.
        side: usize,
        /// Rows and columns by which the first shift precedes a pixel.
        lead: usize,
        /// The padding outside the frame.
        padding_mode: PaddingMode,
    },
    /// A convolution without padding, with the stride of the layer.
    Convolve {
        /// The input.
        from: Field,
        /// The picture of the results.
        to: Field,
        /// The layer whose weights are used.
        layer: usize,
    },
    /// Computes the normalisation of each channel of the results: moments of tiles, then of the whole.
    Measure {
        /// The results.
        from: Field,
        /// The arrangement of the results.
        lattice: Lattice,
        /// The layer whose normalisation is used.
        layer: usize,
    },
    /// Normalises the results as measured, adds `residual`, applies the ReLU if `relu`, and writes them with `pad` pixels
    /// of padding before them. The padding after them fills `to` to its end; `to` may also be too small for all results,
    /// which are then cropped.
    Apply {
        /// The results.
        from: Field,
        /// The arrangement of the results.
        lattice: Lattice,
        /// The layer whose normalisation is used.
        layer: usize,
        /// Whether negative values become 0.
        relu: bool,
        /// The addend.
        residual: Option<Addend>,
        /// The kind of padding.
        padding_mode: PaddingMode,
        /// Pixels of padding on each side.
        pad: usize,
        /// The normalised picture to write.
        to: Field,
    },
    /// The painting: each colour is the sum of `side` x `side` summands, summand `side a + b` from pixel
    /// `(y + 3 a, x + 3 b)`, and is then mapped by [`Weights::join`].
    Join {
        /// The summands of each colour.
        from: Field,
        /// Summands along each axis.
        side: usize,
    },
}

/// The program that paints frames of one size with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Height and width of the frame.
    pub size: (usize, usize),
    /// The steps, in their order.
    pub steps: Vec<PaintStep>,
    /// Elements of the arena.
    pub arena: usize,
    /// Floats for partial sums.
    pub partials: usize,
}

/// A convolution's weights in the program's layout, `(outputs, kernel, kernel, inputs)`.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Channels of the result.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// The stride.
    pub stride: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// The weights, of the shape above.
    pub weight: Vec<f32>,
    /// The normalisation of its results; the last layer has none.
    pub norm: Vec<Channel>,
    /// Added to the variances of its results.
    pub epsilon: f32,
}

impl Filter {
    /// Adds `value` to the weight of a tap.
    ///
    /// # Panics
    ///
    /// If there is no such tap.
    pub fn add(&mut self, output: usize, (y, x): (usize, usize), input: usize, value: f32) {
        self.weight[((output * self.kernel + y) * self.kernel + x) * self.inputs + input] += value;
    }
}

/// The normalisation of a channel. Its results `y` represent `unit * y` in the network's own units; in the first layer,
/// plus `sums` times the means of the frame's colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// The factor of the normalised result.
    pub weight: f32,
    /// Added to it.
    pub bias: f32,
    /// The value in the network's own units of `y = 1`.
    pub unit: f32,
    /// The sum of the weights of each colour of the frame; zero in other layers.
    pub sums: [f32; COLOURS],
}

/// All weights of a network for a GPU.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Of each layer.
    pub filters: Vec<Filter>,
    /// In this order: the factor of each summand of the painting, the bias of each colour, the scale of the hyperbolic
    /// tangent (0 for none), and the factor and the offset of each colour that map the result to levels.
    pub join: Vec<f32>,
    /// The level of each colour that corresponds to the network's 0.
    pub zero: [f32; COLOURS],
}

impl Weights {
    /// The number of channels in all normalisations before `layer`.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    #[must_use]
    pub fn channels_before(&self, layer: usize) -> usize {
        self.filters[..layer].iter().map(|filter| filter.norm.len()).sum()
    }
}
