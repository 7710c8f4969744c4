//! Replaces the colours of fully transparent pixels. They are invisible, but a network would let their edges and statistics
//! affect the visible pixels. The new colours are spread out from the visible colours nearby.
//!
//! The picture is divided into cells. A cell's colour is the mean of its visible pixels; cells without one are filled by
//! pull-push on a pyramid (Gortler et al. 1996, "The lumigraph", 4.2). A hidden pixel gets the colour interpolated between
//! the cells around it. So a picture read in strips gets the same colours as one read as a whole. The costs are one more
//! pass over the file, and little memory.

use image::DynamicImage;

use super::Picture;

/// The side of a cell in pixels, unless there would be more cells than the limit below.
const CELL: usize = 8;
const MAX_CELLS: usize = 1 << 20;

/// The level for a picture without visible pixels, as a fraction of full brightness.
const NOWHERE_VISIBLE: f32 = 0.5;

impl Picture {
    /// The picture with new colours for its fully transparent pixels, taken from the visible pixels nearby. A picture
    /// without such pixels is returned unchanged.
    #[must_use]
    pub fn with_bled_colors(mut self) -> Self {
        if self.has_alpha() {
            let mut visible = VisibleColors::new(self.width(), self.height());
            visible.add(0, &self);
            if let Some(bled) = visible.bleed() {
                bled.fill(0, &mut self);
            }
        }
        self
    }
}

/// Sums of the visible colours, collected from the strips of a picture.
#[derive(Debug)]
pub struct VisibleColors {
    grid: CellGrid,
    /// Sums of red, green and blue, each multiplied by alpha, and of alpha.
    sums: Vec<[u64; 4]>,
    /// The largest level at the picture's depth.
    brightest: f32,
    any_hidden: bool,
}

/// The division of a picture into cells.
#[derive(Debug, Clone, Copy)]
struct CellGrid {
    /// The side of a cell, in pixels.
    side: usize,
    /// Pixels in a row of the picture.
    width: usize,
    across: usize,
    down: usize,
}

/// The colours for the hidden pixels of a picture.
#[derive(Debug)]
pub struct BledColors {
    grid: CellGrid,
    colors: Vec<[f32; 3]>,
}

impl VisibleColors {
    /// Starts with a picture of this size in pixels.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let mut side = CELL;
        while width.div_ceil(side) * height.div_ceil(side) > MAX_CELLS {
            side *= 2;
        }
        let grid = CellGrid { side, width, across: width.div_ceil(side), down: height.div_ceil(side) };
        Self { grid, sums: vec![[0; 4]; grid.across * grid.down], brightest: 1.0, any_hidden: false }
    }

    /// Adds the rows of a strip, whose first row is row `first` of the picture.
    pub fn add(&mut self, first: usize, strip: &Picture) {
        match &strip.image {
            DynamicImage::ImageRgba8(image) => self.add_samples(first, image, f32::from(u8::MAX)),
            DynamicImage::ImageRgba16(image) => self.add_samples(first, image, f32::from(u16::MAX)),
            _ => {}
        }
    }

    fn add_samples<T: Copy + Into<u64>>(&mut self, first: usize, samples: &[T], brightest: f32) {
        self.brightest = brightest;
        let CellGrid { side, width, across, .. } = self.grid;
        for (y, row) in (first..).zip(samples.as_chunks::<4>().0.chunks_exact(width)) {
            let cells = &mut self.sums[y / side * across..][..across];
            for (cell, pixels) in cells.iter_mut().zip(row.chunks(side)) {
                for pixel in pixels {
                    let [red, green, blue, alpha] = pixel.map(Into::into);
                    self.any_hidden |= alpha == 0;
                    *cell = [cell[0] + red * alpha, cell[1] + green * alpha, cell[2] + blue * alpha, cell[3] + alpha];
                }
            }
        }
    }

    /// The colours for the hidden pixels; `None` if there are none.
    #[must_use]
    pub fn bleed(self) -> Option<BledColors> {
        if !self.any_hidden {
            return None;
        }
        let mean = |&[red, green, blue, alpha]: &[u64; 4]| {
            (alpha > 0).then(|| [red, green, blue].map(|sum| (sum as f64 / alpha as f64) as f32))
        };
        let cells: Vec<_> = self.sums.iter().map(mean).collect();
        let gray = [NOWHERE_VISIBLE * self.brightest; 3];
        let colors = fill_gaps(&cells, self.grid.across, self.grid.down, gray);
        Some(BledColors { grid: self.grid, colors })
    }
}

/// Fills empty cells from a picture of half the size, which is filled in the same way.
fn fill_gaps(cells: &[Option<[f32; 3]>], across: usize, down: usize, otherwise: [f32; 3]) -> Vec<[f32; 3]> {
    if across * down == 1 || cells.iter().all(Option::is_some) {
        return cells.iter().map(|cell| cell.unwrap_or(otherwise)).collect();
    }
    let (half_across, half_down) = (across.div_ceil(2), down.div_ceil(2));
    let mut halves = Vec::with_capacity(half_across * half_down);
    for y in 0..half_down {
        for x in 0..half_across {
            let rows = 2 * y..(2 * y + 2).min(down);
            let parts = rows.flat_map(|y| &cells[y * across..][2 * x..(2 * x + 2).min(across)]).flatten();
            let (sum, count) = parts.fold(([0.0; 3], 0.0), |(sum, count), part| {
                ([sum[0] + part[0], sum[1] + part[1], sum[2] + part[2]], count + 1.0)
            });
            halves.push((count > 0.0).then(|| sum.map(|sum: f32| sum / count)));
        }
    }
    let halves = fill_gaps(&halves, half_across, half_down, otherwise);
    let cell = |i: usize| {
        let at = |i: usize| i as f32 / 2.0 - 0.25;
        cells[i].unwrap_or_else(|| between(&halves, (half_across, half_down), at(i % across), at(i / across)))
    };
    (0..across * down).map(cell).collect()
}

/// The colour at a position between the centres of four cells, interpolated.
fn between(cells: &[[f32; 3]], (across, down): (usize, usize), x: f32, y: f32) -> [f32; 3] {
    let neighbors = |at: f32, count: usize| {
        let at = at.clamp(0.0, (count - 1) as f32);
        let first = at as usize;
        (first, (first + 1).min(count - 1), at - first as f32)
    };
    let ((left, right, to_right), (top, bottom, to_bottom)) = (neighbors(x, across), neighbors(y, down));
    let mix = |a: [f32; 3], b: [f32; 3], part: f32| std::array::from_fn(|i| a[i] + (b[i] - a[i]) * part);
    let row = |y: usize| mix(cells[y * across + left], cells[y * across + right], to_right);
    mix(row(top), row(bottom), to_bottom)
}

impl BledColors {
    /// Sets the colours of the hidden pixels of a strip, whose first row is row `first` of the picture.
    pub fn fill(&self, first: usize, strip: &mut Picture) {
        match &mut strip.image {
            DynamicImage::ImageRgba8(image) => self.fill_samples(first, image, |level| (level + 0.5) as u8),
            DynamicImage::ImageRgba16(image) => self.fill_samples(first, image, |level| (level + 0.5) as u16),
            _ => {}
        }
    }

    fn fill_samples<T: Copy + Default + PartialEq>(&self, first: usize, samples: &mut [T], level: impl Fn(f32) -> T) {
        let CellGrid { side, width, across, down } = self.grid;
        let at = |i: usize| (i as f32 + 0.5) / side as f32 - 0.5;
        for (y, row) in (first..).zip(samples.as_chunks_mut::<4>().0.chunks_exact_mut(width)) {
            for (x, pixel) in row.iter_mut().enumerate().filter(|(_, pixel)| pixel[3] == T::default()) {
                let [red, green, blue] = between(&self.colors, (across, down), at(x), at(y)).map(&level);
                *pixel = [red, green, blue, pixel[3]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, RgbImage, Rgba, RgbaImage};

    use super::*;

    /// A disc on a transparent background, whose hidden colour is `hidden`.
    fn disc(hidden: impl Fn(u32, u32) -> [u8; 3]) -> RgbaImage {
        RgbaImage::from_fn(61, 47, |x, y| {
            let inside = (x as i32 - 30).pow(2) + (y as i32 - 20).pow(2) < 150;
            let [red, green, blue] = hidden(x, y);
            Rgba(if inside { [200, x as u8, y as u8, 255] } else { [red, green, blue, 0] })
        })
    }

    #[test]
    fn pictures_that_look_alike_are_alike_to_the_network() {
        let bled = |image: RgbaImage| Picture::from(DynamicImage::from(image)).with_bled_colors();
        let black = bled(disc(|_, _| [0; 3]));
        assert_eq!(black, bled(disc(|_, _| [255; 3])));
        assert_eq!(black, bled(disc(|x, y| [(x * y) as u8, (x * 31) as u8, (y * 77) as u8])));
        for (pixel, original) in black.as_image().as_rgba8().unwrap().pixels().zip(disc(|_, _| [0; 3]).pixels()) {
            assert_eq!(pixel[3], original[3]);
            assert!(if pixel[3] == 0 { pixel[0] == 200 } else { pixel == original });
        }
    }

    #[test]
    fn opaque_and_half_transparent_pictures_stay_as_they_are() {
        let half = RgbaImage::from_fn(30, 20, |x, y| Rgba([x as u8, y as u8, 7, 1 + x as u8]));
        for image in [DynamicImage::from(half), RgbImage::from_pixel(9, 9, image::Rgb([1, 2, 3])).into()] {
            let picture = Picture::from(image);
            assert_eq!(picture.clone().with_bled_colors(), picture);
        }
    }

    #[test]
    fn a_picture_that_is_nowhere_visible_is_gray() {
        let image = ImageBuffer::from_fn(20, 9, |x, y| Rgba([x as u16, y as u16, 65_535, 0]));
        let bled = Picture::from(DynamicImage::ImageRgba16(image)).with_bled_colors();
        assert!(bled.as_image().as_rgba16().unwrap().pixels().all(|&pixel| pixel == Rgba([32_768, 32_768, 32_768, 0])));
    }

    #[test]
    fn strips_bleed_like_the_whole_picture() {
        let whole = Picture::from(DynamicImage::from(disc(|x, y| [x as u8, y as u8, 9])));
        let expected = whole.clone().with_bled_colors();
        let strips = |rows: u32| (0..47).step_by(rows as usize).map(move |top| (top, rows.min(47 - top)));
        for rows in [1, 5, 46] {
            let strip = |top, rows| Picture::from(whole.as_image().crop_imm(0, top, 61, rows));
            let mut visible = VisibleColors::new(61, 47);
            strips(rows).for_each(|(top, rows)| visible.add(top as usize, &strip(top, rows)));
            let bled = visible.bleed().unwrap();
            for (top, rows) in strips(rows) {
                let mut strip = strip(top, rows);
                bled.fill(top as usize, &mut strip);
                assert_eq!(*strip.as_image(), expected.as_image().crop_imm(0, top, 61, rows));
            }
        }
    }

    #[test]
    fn hidden_colours_do_not_show_at_the_edges_of_a_smaller_picture() {
        let small = |hidden: u8| Picture::from(DynamicImage::from(disc(|_, _| [hidden; 3]))).fit_within(30);
        assert_eq!(small(0), small(255));
    }
}
