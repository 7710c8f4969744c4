//! A painting on a GPU, as a list of steps over one piece of memory, the arena.
//!
//! The list is data: `impasto_engine` makes it for a network and a size, a GPU carries it out in one graph, and in tests
//! plain loops carry it out on the processor, which proves it without a GPU. Pictures lie channels innermost, as tensor
//! cores take them, and every picture carries the border that the next convolution needs: no convolution pads.

/// Channels that a thread moves at a time, of which every picture in the arena has a multiple: 16 bytes in half precision.
pub const CHANNELS: usize = 8;

/// The shifts of the picture, per side and in all, beside one another as which a 9x9 convolution is a 3x3 one, see [`PaintStep::Expand`].
pub const SIDE: usize = 3;
/// Shifts of a picture that lie beside one another.
pub const SHIFTS: usize = SIDE * SIDE;

/// Colours of a picture.
pub const COLOURS: usize = 3;

/// Channels of the first picture and of the last one: nine shifts of three colours, and what is missing to a multiple of 8.
pub const SHIFTED: usize = (SHIFTS * COLOURS).next_multiple_of(CHANNELS);

/// The unit in which levels enter the network: a power of two, which keeps differences of 8-bit levels exact.
pub const UNIT: f32 = 128.0;

/// Numbers of a partial sum of [`PaintStep::Measure`]: count, mean, squared distances.
pub const PART: usize = 3;

/// Tiles into which a picture is cut to be measured, at most, and the pixels of one, at least. Both are fixed: sums have the
/// same order on every GPU.
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

    /// How many tiles it is cut into to be measured, and how many pixels each of them has but the last.
    #[must_use]
    pub fn tiles(&self) -> (usize, usize) {
        tiles(self.pixels())
    }
}

/// How many tiles so many pixels are cut into, and how many each of them has but the last.
#[must_use]
pub fn tiles(pixels: usize) -> (usize, usize) {
    let each = pixels.div_ceil(TILES).max(TILE_PIXELS);
    (pixels.div_ceil(each), each)
}

/// What lies beyond the edge of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// The picture mirrored, the edge not repeated.
    Mirrored,
    /// The edge repeated.
    Edge,
    /// The network's zero.
    Zero,
}

/// How the results of a convolution lie in its picture: pixel `(i, j)` holds, per side, `phases` results
/// `(phases i - skip + a, phases j - skip + b)`, those of `a` and `b` from channel `(phases a + b) * channels` on. Those outside
/// of `height` and `width` are no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    /// Results in a pixel, per side: 1, or 2 behind a convolution that enlarges.
    pub phases: usize,
    /// Results before the first that pixel 0 has room for, per side.
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

/// The inner part of an earlier picture, which is added to results of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addend {
    /// The picture with its border.
    pub field: Field,
    /// Rows and columns before the inner part.
    pub lead: usize,
}

/// One step of a painting. `layer` says whose weights, or whose normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaintStep {
    /// The mean of each colour of the frame, rounded to a level.
    Survey,
    /// The frame, less the mean of each colour, by [`UNIT`], with `side` times `side` shifts of it beside one another: channel
    /// `3 * (side a + b) + c` of pixel `(y, x)` is colour `c` of the frame's pixel `(y + 3 a - lead, x + 3 b - lead)`. Other
    /// channels are 0. The border is not [`Border::Edge`].
    Expand {
        /// Where they go.
        to: Field,
        /// Shifts along each axis.
        side: usize,
        /// Rows and columns that the first shift lies before a pixel.
        lead: usize,
        /// What lies outside the frame.
        border: Border,
    },
    /// A convolution without a border, of as many steps a pixel as the layer says.
    Convolve {
        /// What is convolved.
        from: Field,
        /// Where the results go.
        to: Field,
        /// Whose weights.
        layer: usize,
    },
    /// How each channel of the results is to be normalised: moments of tiles, then of all of them.
    Measure {
        /// The results.
        from: Field,
        /// How they lie.
        lattice: Lattice,
        /// Whose normalisation.
        layer: usize,
    },
    /// The results normalised as measured, added to `residual`, rectified if `relu`, with a border of `pad` pixels before them.
    /// The border after them reaches to the end of `to`, which may also cut results off.
    Apply {
        /// The results.
        from: Field,
        /// How they lie.
        lattice: Lattice,
        /// Whose normalisation.
        layer: usize,
        /// Whether negative values become 0.
        relu: bool,
        /// What is added.
        residual: Option<Addend>,
        /// What the border shows.
        border: Border,
        /// Pixels of the border on each side.
        pad: usize,
        /// Where the normalised picture goes.
        to: Field,
    },
    /// The painting: each colour is the sum of `side` times `side` parts, part `side a + b` from pixel `(y + 3 a, x + 3 b)`, and
    /// is then mapped as [`Weights::join`] says.
    Join {
        /// The parts of each colour.
        from: Field,
        /// Parts along each axis.
        side: usize,
    },
}

/// What a network's picture of one size takes to be painted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Height and width of the frame.
    pub size: (usize, usize),
    /// The steps, in their order.
    pub steps: Vec<PaintStep>,
    /// Elements of the arena.
    pub arena: usize,
    /// Floats for partial sums.
    pub parts: usize,
}

/// A convolution's weights as the program wants them, `(outputs, kernel, kernel, inputs)`.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Channels of the result.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Pixels from one result to the next.
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

/// The normalisation of a channel whose results `y` stand for `unit * y` of the network, and, behind the frame, for as much more
/// as `sums` of its colours' means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// The factor of the normalised result.
    pub weight: f32,
    /// Added to it.
    pub bias: f32,
    /// What one of `y` stands for.
    pub unit: f32,
    /// The sum of the weights of each colour of the frame; nothing behind other layers.
    pub sums: [f32; COLOURS],
}

/// All weights of a network for a GPU.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Of each layer.
    pub filters: Vec<Filter>,
    /// By what each part of the painting is multiplied, then what is added to each colour; then the scale of the hyperbolic
    /// tangent that is taken of it, 0 for none, and the factor and the offset of each colour that make it levels.
    pub join: Vec<f32>,
    /// The level of each colour that is the network's 0.
    pub zero: [f32; COLOURS],
}

impl Weights {
    /// Channels of all normalisations before `layer`'s.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    #[must_use]
    pub fn channels_before(&self, layer: usize) -> usize {
        self.filters[..layer].iter().map(|filter| filter.norm.len()).sum()
    }
}
