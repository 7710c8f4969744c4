//! Painting of pictures given as planes of levels: only the network, without the strength and colour options.

use impasto_common::{Error, Result};
use impasto_engine::Statistics;

use super::{PaintedPlanes, Stylizer};

impl Stylizer {
    /// Runs the network on the planes of a picture, `(3, height, width)`, RGB in `[0, 255]`, of any size from 1x1.
    ///
    /// The result has the same shape and is not clamped. The options' strength and colours do not apply; the margin does.
    /// Pictures too small for the network are continued by their reflection, and the painting is cropped again.
    ///
    /// # Errors
    ///
    /// If the number of values does not match `(height, width)`, or as [`Self::stylize`].
    pub fn stylize_planes(&self, photo: &[f32], (height, width): (usize, usize)) -> Result<PaintedPlanes> {
        let plane = height * width;
        if plane == 0 || photo.len() != 3 * plane {
            let numbers = photo.len();
            return Err(Error::new(format!("{numbers} numbers are not an RGB picture of {width}x{height} pixels")));
        }
        let mut levels = vec![0.0; photo.len()];
        let read = |first: usize, rows: &mut [[&mut [f32]; 3]]| {
            for (i, row) in rows.iter_mut().enumerate() {
                for (channel, line) in row.iter_mut().enumerate() {
                    line.copy_from_slice(&photo[channel * plane + (first + i) * width..][..width]);
                }
            }
            Ok(())
        };
        let note = self.run((height, width), &mut Statistics::own(), read, |first, band| {
            for (i, line) in band.chunks_exact(width).enumerate() {
                levels[i % 3 * plane + (first + i / 3) * width..][..width].copy_from_slice(line);
            }
            Ok(())
        })?;
        Ok(PaintedPlanes { levels, notes: note.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{stylizer, trained};
    use super::*;
    use crate::{PaintMargin, StylizeOptions};

    /// A picture in planes.
    #[derive(Debug, Clone, PartialEq)]
    struct Planes {
        size: (usize, usize),
        levels: Vec<f32>,
    }

    impl Planes {
        /// A picture of `size` whose pixels are those of `place` in this one.
        fn gather(&self, size: (usize, usize), place: impl Fn(usize, usize) -> (usize, usize)) -> Self {
            let (height, width) = size;
            let mut levels = Vec::new();
            for plane in self.levels.chunks_exact(self.size.0 * self.size.1) {
                levels.extend((0..height * width).map(|i| {
                    let (y, x) = place(i / width, i % width);
                    plane[y * self.size.1 + x]
                }));
            }
            Self { size, levels }
        }

        fn painted(&self, stylizer: &Stylizer) -> Self {
            Self { size: self.size, levels: stylizer.stylize_planes(&self.levels, self.size).unwrap().levels }
        }
    }

    fn ramp(size: (usize, usize)) -> Planes {
        Planes { size, levels: (0..3 * size.0 * size.1).map(|i| (i * 29 % 256) as f32).collect() }
    }

    #[test]
    fn a_picture_too_small_for_the_network_is_continued_by_its_reflection_and_cropped() {
        let (small, stylizer) = (ramp((2, 7)), stylizer());
        let extended = small.gather((5, 7), |y, x| (y % 2, x)).painted(&stylizer);
        assert_eq!(small.painted(&stylizer), extended.gather((2, 7), |y, x| (y, x)));
    }

    /// A photo with `margin` pixels around it that mirror it.
    fn mirrored(photo: &Planes, margin: usize) -> Planes {
        let (height, width) = photo.size;
        let place = |i: usize, side: usize| {
            let beyond = (i as isize - margin as isize).unsigned_abs() % (2 * side - 2);
            beyond.min(2 * side - 2 - beyond)
        };
        photo.gather((height + 2 * margin, width + 2 * margin), |y, x| (place(y, height), place(x, width)))
    }

    #[test]
    fn a_style_of_this_trainer_is_painted_with_mirrored_surroundings_that_are_cropped() {
        let photo = ramp((10, 13));
        let expected = mirrored(&photo, 4).painted(&stylizer()).gather((10, 13), |y, x| (y + 4, x + 4));
        assert_eq!(photo.painted(&trained()), expected);
        assert_ne!(photo.painted(&trained()), photo.painted(&stylizer()));
    }

    #[test]
    fn any_style_is_painted_with_the_margin_that_is_asked_for() {
        let photo = ramp((10, 13));
        for (margin, pixels) in [(PaintMargin::Auto, 32), (PaintMargin::Pixels(8), 8), (PaintMargin::Pixels(0), 0)] {
            let expected = mirrored(&photo, pixels).painted(&stylizer());
            let expected = expected.gather((10, 13), |y, x| (y + pixels, x + pixels));
            for stylizer in [stylizer(), trained()] {
                let options = StylizeOptions { margin, ..StylizeOptions::default() };
                assert_eq!(photo.painted(&stylizer.with_options(options).unwrap()), expected, "{margin:?}");
            }
        }
    }

    #[test]
    fn values_that_do_not_match_the_size_are_refused() {
        assert!(stylizer().stylize_planes(&[0.0; 11], (2, 2)).is_err());
        assert!(stylizer().stylize_planes(&[], (0, 2)).is_err());
    }
}
