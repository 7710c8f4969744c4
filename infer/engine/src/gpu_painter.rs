//! The interface of [`AnyEngine`](crate::AnyEngine) to a GPU. The GPU code implements it, and so do fakes in tests.

use std::fmt;

use crate::{PaintPrecision, Rows, Sink, Statistics};
use impasto_error::Result;

/// A picture of 8 bits: rows from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelFrame {
    /// Red, green, blue and optionally alpha of each pixel.
    pub bytes: Vec<u8>,
    /// Bytes of a pixel, 3 or 4.
    pub channels: usize,
    /// Height and width in pixels.
    pub size: (usize, usize),
}

/// How a painting is blended with its picture before it replaces it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// From 0, the picture, to 1, the painting.
    pub strength: f32,
    /// Whether the painting keeps the picture's colours.
    pub keep_colors: bool,
}

/// What a GPU did with a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuAnswer {
    /// It painted the picture. There may be a notice for the user, such as that it painted slowly.
    Painted(Option<String>),
    /// It could not paint the picture, for this reason.
    Refused(String),
}

/// How long a GPU paints one frame that is already in its memory.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuTimes {
    /// Milliseconds of each run, from the frame in the GPU's memory to the painting there.
    pub milliseconds: Vec<f32>,
    /// Why each run was not one CUDA graph, if it was not. Kernels are then started one by one, which takes longer.
    pub graph_failure: Option<String>,
    /// Bytes of the GPU's memory that the painting takes, besides the weights.
    pub memory: u64,
}

/// One style's network on a GPU.
pub trait GpuPainter: fmt::Debug + Send + Sync {
    /// The driver's name for the GPU.
    fn name(&self) -> &str;

    /// The arithmetic precision.
    fn precision(&self) -> PaintPrecision;

    /// Begins to paint a frame.
    ///
    /// # Errors
    ///
    /// The frame, unchanged, and the reason, if the GPU cannot paint it.
    fn begin(
        &self,
        frame: PixelFrame,
        blend: Blend,
        statistics: &Statistics,
    ) -> Result<Box<dyn FrameInFlight>, (PixelFrame, String)>;

    /// Paints `picture` into `sink`: see [`Engine::paint_steadily`](crate::Engine::paint_steadily). If the GPU refuses the
    /// picture, `sink` has received nothing.
    ///
    /// # Errors
    ///
    /// If the GPU fails for another reason than lack of memory, or the picture or the sink fails.
    fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<GpuAnswer>;

    /// Times the painting of a frame of `(height, width)` pixels on the GPU alone, after one warm-up run.
    ///
    /// # Errors
    ///
    /// If the GPU cannot paint it.
    fn times(&self, size: (usize, usize), runs: usize) -> Result<GpuTimes>;

    /// Measures how many operations a second the GPU does in a large matrix product of this painter's precision.
    ///
    /// # Errors
    ///
    /// If the GPU fails or has no memory for the matrices.
    fn peak_flops(&self) -> Result<f64>;

    /// Frees the memory that is kept for the next picture, which then takes a little longer.
    fn release(&self);
}

/// A frame that a GPU is painting.
pub trait FrameInFlight: fmt::Debug + Send {
    /// Waits for the frame. A frame that the GPU refused is unchanged.
    ///
    /// # Errors
    ///
    /// If the GPU fails for another reason than lack of memory.
    fn finish(self: Box<Self>, statistics: &mut Statistics) -> Result<(PixelFrame, GpuAnswer)>;
}
