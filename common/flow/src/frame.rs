//! Frames as pixels of four floats, and warping of frames along a flow.

use rayon::prelude::*;

use super::Flow;
use super::plane::ROWS;
use impasto_kernels::flow::{Pixel, Pixels, warp_linear_row};
use impasto_picture::Picture;

/// The weights of red, green and blue in luma (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A frame: red, green, blue and luma of each pixel, row by row, in `[0, 255]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowFrame {
    height: usize,
    width: usize,
    pixels: Vec<Pixel>,
}

impl FlowFrame {
    /// The colours and luma of a picture.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let mut pixels = vec![[0.0; 4]; height * width];
        pixels.par_chunks_exact_mut(width.max(1)).enumerate().with_min_len(ROWS).for_each_init(
            || vec![0.0; 3 * width],
            |line, (y, out)| {
                let (red, rest) = line.split_at_mut(width);
                let (green, blue) = rest.split_at_mut(width);
                picture.read_rows(y, &mut [[&mut *red, &mut *green, &mut *blue]]);
                for (i, out) in out.iter_mut().enumerate() {
                    let (r, g, b) = (red[i], green[i], blue[i]);
                    *out = [r, g, b, LUMA[0] * r + LUMA[1] * g + LUMA[2] * b];
                }
            },
        );
        Self { height, width, pixels }
    }

    /// From pixels, row by row; the fourth component of each is its luma.
    ///
    /// # Panics
    ///
    /// If there are not `height * width` of them.
    #[must_use]
    pub fn from_pixels((height, width): (usize, usize), pixels: Vec<Pixel>) -> Self {
        assert_eq!(pixels.len(), height * width, "a frame has height times width pixels");
        Self { height, width, pixels }
    }

    /// Replaces the colours of a picture of this size, clamped and rounded; its alpha and profile stay.
    ///
    /// # Panics
    ///
    /// If the picture has another size.
    pub fn write_to(&self, picture: &mut Picture) {
        assert_eq!((self.height, self.width), (picture.height() as usize, picture.width() as usize));
        let mut band = vec![0.0; 3 * self.height * self.width];
        band.par_chunks_exact_mut(3 * self.width).zip(self.pixels.par_chunks_exact(self.width)).for_each(
            |(line, pixels)| {
                for (channel, line) in line.chunks_exact_mut(self.width).enumerate() {
                    line.iter_mut().zip(pixels).for_each(|(out, pixel)| *out = pixel[channel]);
                }
            },
        );
        picture.write_rows(0, &band);
    }

    /// Height and width.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Red, green, blue and luma, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[[f32; 4]] {
        &self.pixels
    }

    /// The pixels, to be changed.
    #[must_use]
    pub fn pixels_mut(&mut self) -> &mut [[f32; 4]] {
        &mut self.pixels
    }

    /// This frame warped along `flow`: samples this frame where `flow` points to, bilinearly interpolated. The result is
    /// aligned with the frame that the flow starts from. Outside the frame, the border pixel is repeated.
    ///
    /// # Panics
    ///
    /// If the flow has another size.
    #[must_use]
    pub fn along(&self, flow: &Flow) -> Self {
        assert_eq!(self.size(), flow.size(), "a flow moves frames of its size");
        let mut pixels = vec![[0.0; 4]; self.pixels.len()];
        pixels.par_chunks_exact_mut(self.width).with_min_len(ROWS).enumerate().for_each(|(y, out)| {
            let along = [&flow.x, &flow.y].map(|plane| &plane[y * self.width..][..self.width]);
            warp_linear_row(self.view(), y, along, out);
        });
        Self { pixels, ..*self }
    }

    fn view(&self) -> Pixels<'_> {
        Pixels { data: &self.pixels, height: self.height, width: self.width }
    }
}
