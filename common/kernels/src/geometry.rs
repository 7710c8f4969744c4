//! The shapes of a convolution, which all kernels for it share.

use super::pad::{Axis, PaddedFrame};
use super::scratch::LINE;

/// Shapes of a convolution of `(batch, inputs, height, width)` with `(outputs, inputs, kernel, kernel)`, and the steps
/// before and after it: upsampling, padding, ReLU.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Pictures.
    pub batch: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Rows of the input, before upsampling and padding.
    pub height: usize,
    /// Columns of the input, before upsampling and padding.
    pub width: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Upsampling factor in both directions before padding (nearest neighbour): 1 or 2.
    pub upsample: usize,
    /// Padding in pixels on each of the four sides.
    pub pad: usize,
    /// Whether padding is by reflection, without repeating the edge, instead of zeros.
    pub reflect: bool,
    /// Stride in both directions: 1 or 2.
    pub stride: usize,
    /// Whether negative results become 0.
    pub relu: bool,
}

impl Geometry {
    /// Height and width of the result.
    ///
    /// # Panics
    ///
    /// If the padded input is smaller than the kernel.
    #[must_use]
    pub fn out_size(&self) -> (usize, usize) {
        let (height, width) = self.padded_size();
        ((height - self.kernel) / self.stride + 1, (width - self.kernel) / self.stride + 1)
    }

    /// Floats of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.inputs * self.height * self.width
    }

    /// Floats of the result.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let (height, width) = self.out_size();
        self.batch * self.outputs * height * width
    }

    /// Floats of the weights.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.outputs * self.inputs * self.kernel * self.kernel
    }

    /// Height and width of the upsampled and padded input.
    pub(crate) fn padded_size(&self) -> (usize, usize) {
        (self.upsample * self.height + 2 * self.pad, self.upsample * self.width + 2 * self.pad)
    }

    /// The layout of the padded input.
    pub(crate) fn input_frame(&self) -> PaddedFrame {
        let axis = |source| Axis { source, upsample: self.upsample, lead: self.pad as isize, reflect: self.reflect };
        let width = self.padded_size().1;
        let read = self.out_size().1.next_multiple_of(LINE) + (self.kernel - 1) / self.stride;
        PaddedFrame {
            rows: axis(self.height),
            columns: axis(self.width),
            width,
            phases: self.stride,
            segment: read.max(width.div_ceil(self.stride)).next_multiple_of(LINE),
        }
    }

    /// The offset that each tap (channel, kernel row, kernel column) reads at in a padded input with channels `plane`
    /// floats apart.
    pub(crate) fn tap_offsets(&self, frame: &PaddedFrame, plane: usize) -> Vec<u32> {
        let (kernel, stride) = (self.kernel, self.stride);
        let column = |x: usize| (x % stride) * frame.segment + x / stride;
        let row = |y: usize| (0..kernel).map(move |x| y * frame.pitch() + column(x));
        let channel = |c: usize| (0..kernel).flat_map(row).map(move |offset| (c * plane + offset) as u32);
        (0..self.inputs).flat_map(channel).collect()
    }
}
