//! What a kernel is started with, and the machine that starts it: a GPU, or in tests the CPU that pretends to be one.
//!
//! Everything that decides grids, arguments and scratch memory is written against [`Machine`], so that the tests run it to the
//! last line without a GPU.

use candle_core::{Result, bail};

use super::source::Source;

/// Threads of a block, in every kernel: `THREADS` of `prelude.cuh`.
pub const THREADS: usize = 256;

/// The numbers that tensors between ops are made of. Kernels compute in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    F32,
    Bf16,
    F16,
}

impl Value {
    /// What `VALUE` is defined as in the sources.
    pub fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
        }
    }

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// How many a kernel moves at once: `PACK` of `prelude.cuh`.
    pub fn pack(self) -> usize {
        16 / self.bytes()
    }
}

/// An address in the memory of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// The argument of a kernel that may be left out.
    pub const NONE: Self = Self(0);

    /// So many bytes further on.
    pub fn after(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    Place(Place),
    Int(i32),
    Float(f32),
}

impl From<Place> for Argument {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

impl From<Option<Place>> for Argument {
    fn from(place: Option<Place>) -> Self {
        Self::Place(place.unwrap_or(Place::NONE))
    }
}

impl From<usize> for Argument {
    /// Sizes are checked by [`fits`] before anything is started.
    fn from(number: usize) -> Self {
        Self::Int(number as i32)
    }
}

impl From<bool> for Argument {
    fn from(flag: bool) -> Self {
        Self::Int(flag.into())
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Self {
        Self::Float(number)
    }
}

/// A kernel about to be started with [`THREADS`] threads a block.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub source: Source,
    pub value: Value,
    pub kernel: &'static str,
    pub grid: [usize; 3],
    pub arguments: &'a [Argument],
}

/// Which of the three products a convolution takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Picture and weight to the result.
    Forward,
    /// Gradient of the result and weight to that of the picture.
    Input,
    /// Gradient of the result and picture to that of the weight.
    Weight,
}

/// A plain convolution with zero padding, as cuDNN knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    pub value: Value,
    /// Whether channels come last in pictures, results and weights.
    pub last: bool,
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub height: usize,
    pub width: usize,
    pub kernel: usize,
    pub pad: usize,
    pub stride: usize,
}

impl Convolution {
    /// Height and width of the result.
    pub fn out_size(&self) -> (usize, usize) {
        let along = |size| (size + 2 * self.pad - self.kernel) / self.stride + 1;
        (along(self.height), along(self.width))
    }

    /// Bytes of the picture, of the weight, of the result.
    pub fn bytes(&self) -> [usize; 3] {
        let (height, width) = self.out_size();
        let picture = self.batch * self.inputs * self.height * self.width;
        let weight = self.outputs * self.inputs * self.kernel * self.kernel;
        [picture, weight, self.batch * self.outputs * height * width].map(|len| len * self.value.bytes())
    }
}

/// A batch of matrix products `c = op(a) b`, columns first: `op(a)` is `(rows, inner)`, `b` `(inner, columns)`.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// The numbers of `a` and `b`.
    pub value: Value,
    /// The numbers of `c`.
    pub result: Value,
    /// Whether `a` is stored as `(inner, rows)`.
    pub transposed: bool,
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    pub inner: usize,
}

/// Memory of a machine, given back when everything started so far is done with it.
pub trait Buffer {
    fn place(&self) -> Place;
}

/// What runs kernels, one after the other in the order in which they were started.
pub trait Machine {
    type Buffer: Buffer;

    /// Memory of any content.
    fn buffer(&self, bytes: usize) -> Result<Self::Buffer>;

    /// Memory with these words in it.
    fn upload(&self, words: &[u64]) -> Result<Self::Buffer>;

    /// Starts a kernel. Places must be those of memory as large as the kernel takes it to be.
    fn launch(&self, launch: &Launch) -> Result<()>;

    /// Convolves in one direction: two arguments in the order in which [`Direction`] names them, and the result.
    fn convolve(
        &self,
        direction: Direction,
        convolution: &Convolution,
        arguments: [Place; 2],
        result: Place,
    ) -> Result<()>;

    /// Multiplies matrices, with sums of f32.
    fn multiply(&self, product: &Product, arguments: [Place; 2], result: Place) -> Result<()>;
}

/// Blocks for `count` values, one a thread.
pub fn blocks(count: usize) -> usize {
    count.div_ceil(THREADS)
}

/// Refuses tensors whose places no 32-bit number counts.
pub fn fits(counts: &[usize]) -> Result<()> {
    match counts.iter().find(|&&count| count > i32::MAX as usize - THREADS) {
        Some(count) => {
            bail!("a tensor of {count} values is too large for one kernel; take smaller pictures or batches")
        }
        None => Ok(()),
    }
}

/// How a sum over `count` values is cut into parts: the number of parts and the values of each. By the count alone.
pub fn parts(count: usize, least: usize, most: usize) -> (usize, usize) {
    let parts = count.div_ceil(least).clamp(1, most);
    let span = count.div_ceil(parts).max(1);
    (count.div_ceil(span).max(1), span)
}
