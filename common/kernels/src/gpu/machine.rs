//! [`GpuMachine`]: a machine that runs GPU kernels, either a real GPU or, in tests, the CPU emulating one.
//!
//! All code that chooses grids, arguments and scratch memory is written against this trait, so that tests cover it without
//! a GPU.

use candle_core::Result;

use super::launch::{Launch, Place};
use super::value::Value;

/// The direction of a convolution: forward or one of its gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The result, from the picture and the weight.
    Forward,
    /// The gradient of the picture, from the gradient of the result and the weight.
    Input,
    /// The gradient of the weight, from the gradient of the result and the picture.
    Weight,
}

/// A plain convolution with zero padding, as supported by cuDNN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// The number type of picture, weight and result.
    pub value: Value,
    /// Whether channels come last in memory: `(batch, height, width, channels)` rather than `(batch, channels, height, width)`.
    /// Weights follow: `(outputs, kernel, kernel, inputs)` rather than `(outputs, inputs, kernel, kernel)`.
    pub last: bool,
    /// Pictures.
    pub batch: usize,
    /// Channels of a picture.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Rows of a picture, without padding.
    pub height: usize,
    /// Columns of a picture, without padding.
    pub width: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Zero padding on each of the four sides.
    pub pad: usize,
    /// Stride in both directions.
    pub stride: usize,
}

impl Convolution {
    /// Height and width of the result.
    ///
    /// # Panics
    ///
    /// If the padded picture is smaller than the kernel.
    #[must_use]
    pub fn out_size(&self) -> (usize, usize) {
        let along = |size| (size + 2 * self.pad - self.kernel) / self.stride + 1;
        (along(self.height), along(self.width))
    }

    /// Bytes of the picture, of the weight, and of the result.
    #[must_use]
    pub fn bytes(&self) -> [usize; 3] {
        let (height, width) = self.out_size();
        let picture = self.batch * self.inputs * self.height * self.width;
        let weight = self.outputs * self.inputs * self.kernel * self.kernel;
        [picture, weight, self.batch * self.outputs * height * width].map(|len| len * self.value.bytes())
    }
}

/// A batch of matrix products `c = op(a) b`, all stored column-major: `op(a)` is `(rows, inner)`, `b` `(inner, columns)`,
/// `c` `(rows, columns)`.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// The number type of `a` and `b`.
    pub value: Value,
    /// The number type of `c`.
    pub result: Value,
    /// Whether `a` is stored as `(inner, rows)` and has to be transposed.
    pub transposed: bool,
    /// Matrices in each of `a`, `b` and `c`, one directly after another.
    pub batch: usize,
    /// Rows of `op(a)` and `c`.
    pub rows: usize,
    /// Columns of `b` and `c`.
    pub columns: usize,
    /// Columns of `op(a)`, rows of `b`.
    pub inner: usize,
}

/// Memory of a machine. Dropping it frees the memory once all work launched before has finished.
pub trait Buffer {
    /// The address of the memory, aligned to at least 16 bytes.
    fn place(&self) -> Place;
}

/// Runs kernels, convolutions and matrix products, one after another in the order of the calls.
///
/// Methods return before the work is done, and may return errors of earlier work. Callers must pass addresses of memory
/// that is as large as the sizes require: implementations cannot check that.
pub trait GpuMachine {
    /// Memory of this machine.
    type Buffer: Buffer;

    /// Allocates memory. Its content is undefined.
    ///
    /// # Errors
    ///
    /// If there is not enough memory.
    fn buffer(&self, bytes: usize) -> Result<Self::Buffer>;

    /// Allocates memory that holds these words.
    ///
    /// # Errors
    ///
    /// If there is not enough memory, or the copy fails.
    fn upload(&self, words: &[u64]) -> Result<Self::Buffer>;

    /// Checks a launch by [`Launch::check`], then starts the kernel. A grid without blocks starts nothing.
    ///
    /// # Errors
    ///
    /// If the check fails, or the kernel cannot be compiled or started.
    fn launch(&self, launch: &Launch) -> Result<()>;

    /// Convolves in one direction. The two arguments come in the order in which [`Direction`] names them.
    ///
    /// # Errors
    ///
    /// If the machine has no algorithm for the convolution, or no memory for one.
    fn convolve(
        &self,
        direction: Direction,
        convolution: &Convolution,
        arguments: [Place; 2],
        result: Place,
    ) -> Result<()>;

    /// Multiplies matrices, `a` and `b`, with sums in f32.
    ///
    /// # Errors
    ///
    /// If the machine cannot start it.
    fn multiply(&self, product: &Product, arguments: [Place; 2], result: Place) -> Result<()>;
}
