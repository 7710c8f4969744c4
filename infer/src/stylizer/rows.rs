//! Painting row by row: feeds the rows of a photo to the network, and writes the bands of the painting over the photo.

use std::cell::RefCell;

use impasto_common::Result;
use impasto_engine::{Rows, Statistics};
use impasto_picture::Picture;
use rayon::prelude::*;

use super::surroundings::SurroundedPhoto;
use super::{StylizeOptions, Stylizer};
use crate::blend;

impl Stylizer {
    /// Paints a picture that already has its final size. Returns a notice for the user, if there is one.
    pub(super) fn paint_rows(
        &self,
        picture: Picture,
        statistics: &mut Statistics,
    ) -> Result<(Picture, Option<String>)> {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        // The painting replaces the photo from the top down, after the engine has read each row for the last time.
        let shared = RefCell::new(picture);
        let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            shared.borrow().read_rows(first, rows);
            Ok(())
        };
        let note = self.run((height, width), statistics, read, |first, band| {
            self.write_over(&mut shared.borrow_mut(), first, band);
            Ok(())
        })?;
        Ok((shared.into_inner(), note))
    }

    /// Replaces rows of `picture` from `first` on by a band of the painting, `(rows, 3, width)`, blended as the options ask.
    pub(super) fn write_over(&self, picture: &mut Picture, first: usize, band: &mut [f32]) {
        let width = picture.width() as usize;
        if self.options.strength < 1.0 || self.options.keep_colors {
            let mut photo = vec![0.0; band.len()];
            picture.read_rows(first, &mut lines(&mut photo, width));
            self.blend(band, &photo, width);
        }
        picture.write_rows(first, band);
    }

    /// Paints the photo that `read` reads into `write`. Both see only the photo's own `size`, without the margin. Returns a
    /// notice for the user, if there is one.
    pub(super) fn run(
        &self,
        size: (usize, usize),
        statistics: &mut Statistics,
        read: impl Fn(usize, &mut [[&mut [f32]; 3]]) -> Result<()>,
        mut write: impl FnMut(usize, &mut [f32]) -> Result<()>,
    ) -> Result<Option<String>> {
        let margin = self.margin();
        let mut photo = SurroundedPhoto::new(size, margin, read);
        let photo_size = photo.size();
        let mut cropped = Vec::new();
        self.engine.paint_steadily(&mut photo, self.options.memory(), statistics, &mut |first, band| {
            if photo_size == size {
                return write(first, band);
            }
            let rows = first..first + band.len() / 3 / photo_size.1;
            let kept = rows.start.max(margin)..rows.end.min(margin + size.0);
            if kept.is_empty() {
                return Ok(());
            }
            cropped.clear();
            let lines = band.chunks_exact(photo_size.1).skip(3 * (kept.start - rows.start)).take(3 * kept.len());
            lines.for_each(|line| cropped.extend_from_slice(&line[margin..][..size.1]));
            write(kept.start - margin, &mut cropped)
        })
    }

    /// Pixels of mirrored surroundings on every side of a photo while it is painted. The painting is cropped again.
    pub(crate) fn margin(&self) -> usize {
        self.options.margin.pixels(&self.card, self.engine.network())
    }

    /// Mixes a band of the painting, `(rows, 3, width)`, with the photo's.
    fn blend(&self, painting: &mut [f32], photo: &[f32], width: usize) {
        let StylizeOptions { strength, keep_colors, .. } = self.options;
        painting.par_chunks_exact_mut(3 * width).zip(photo.par_chunks_exact(3 * width)).for_each(
            |(painting, photo)| {
                if keep_colors {
                    blend::keep_colors(painting, photo);
                }
                if strength < 1.0 {
                    blend::mix(painting, photo, strength);
                }
            },
        );
    }
}

/// The lines of red, green and blue of every row of a band `(rows, 3, width)`.
pub(super) fn lines(band: &mut [f32], width: usize) -> Vec<[&mut [f32]; 3]> {
    let rows = band.chunks_exact_mut(3 * width).map(|row| {
        let (red, rest) = row.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        [red, green, blue]
    });
    rows.collect()
}
