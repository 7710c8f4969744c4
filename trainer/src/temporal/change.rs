//! A small random change of a photo: the change between two frames of a video, or somewhat more.

use std::f64::consts::TAU;

use rand::{Rng, RngExt};

use crate::random::{Purpose, generator};

/// The largest shift along an axis, pixels. It is twice the network's stride, so that every fraction of the stride is equally
/// likely.
const SHIFT: f64 = 4.0;
/// The largest fraction by which the picture grows or shrinks about its middle: 2.5 pixels at the border of a crop of 256.
const ZOOM: f64 = 0.02;
/// The largest rotation about the middle, radians.
const ROTATION: f64 = 0.02;
/// The largest displacement by the smooth wave that bends the picture, pixels along an axis.
const SWAY: f64 = 1.5;
/// The largest fraction by which contrast rises or falls.
const CONTRAST: f64 = 0.1;
/// The largest change of brightness in the middle, levels.
const BRIGHTNESS: f64 = 10.0;
/// By how much the change of brightness may differ from the middle to a side, levels.
const TILT: f64 = 8.0;
/// The largest standard deviation of the noise, levels.
const NOISE: f64 = 8.0;
/// The width of the margin that does not count, pixels. The painting has border effects there, which do not move.
const MARGIN: usize = 8;

/// A change of one picture of three channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The source position of every pixel: first all rows, then all columns.
    pub(super) positions: Vec<f32>,
    /// The factor for every level.
    pub(super) gain: f32,
    /// Light and noise to add to every level, channel by channel.
    pub(super) added: Vec<f32>,
    /// 1 where a pixel counts; 0 in the margin, and where the source position is in the margin or outside.
    pub(super) mask: Vec<f32>,
}

impl Change {
    /// The change of sample number `sample`, for a photo of `(height, width)` pixels.
    pub(super) fn draw(seed: u64, sample: u64, (height, width): (usize, usize)) -> Self {
        let mut random = generator(seed, Purpose::Change, sample);
        let (motion, light) = (Motion::draw(&mut random), Light::draw(&mut random));
        let picture = PictureSize { height: height as f64, width: width as f64 };
        let pixels = (0..height * width).map(|index| [(index / width) as f64, (index % width) as f64]);
        let sources: Vec<_> = pixels.clone().map(|pixel| motion.source(picture, pixel)).collect();
        let shade: Vec<_> = pixels.clone().map(|pixel| light.added(picture, pixel)).collect();
        let deviation = random.random_range(0.0..NOISE);
        let mut noise = Normal { random, spare: None };
        Self {
            positions: [0, 1]
                .into_iter()
                .flat_map(|axis| sources.iter().map(move |source| source[axis] as f32))
                .collect(),
            gain: light.gain as f32,
            added: (0..3).flat_map(|_| &shade).map(|shade| (shade + deviation * noise.next()) as f32).collect(),
            mask: pixels.zip(&sources).map(|(pixel, &source)| f32::from(picture.stays(pixel, source))).collect(),
        }
    }

    /// The number of pixels that count in the result of [`Self::draw`]. `draw` draws the movement first.
    pub(super) fn visible(seed: u64, sample: u64, (height, width): (usize, usize)) -> usize {
        let motion = Motion::draw(&mut generator(seed, Purpose::Change, sample));
        let picture = PictureSize { height: height as f64, width: width as f64 };
        let pixels = (0..height * width).map(|index| [(index / width) as f64, (index % width) as f64]);
        pixels.filter(|&pixel| picture.stays(pixel, motion.source(picture, pixel))).count()
    }
}

/// The size of a picture, pixels.
#[derive(Debug, Clone, Copy)]
struct PictureSize {
    height: f64,
    width: f64,
}

impl PictureSize {
    /// A pixel's position relative to the middle, from -1/2 to 1/2 across the picture.
    fn offset_from_middle(self, [row, column]: [f64; 2]) -> [f64; 2] {
        [(row + 0.5) / self.height - 0.5, (column + 0.5) / self.width - 0.5]
    }

    /// Whether a pixel with this source position counts.
    fn stays(self, pixel: [f64; 2], source: [f64; 2]) -> bool {
        self.counts(pixel) && self.counts(source)
    }

    /// Whether a position is not in the margin. The margin is at most an eighth of a side.
    fn counts(self, [row, column]: [f64; 2]) -> bool {
        let inside = |place: f64, size: f64| {
            let margin = (size / 8.0).floor().min(MARGIN as f64);
            (margin..=size - 1.0 - margin).contains(&place)
        };
        inside(row, self.height) && inside(column, self.width)
    }
}

/// A movement of the whole picture: shift, zoom and rotation, and a wave for each axis that bends it.
#[derive(Debug, Clone, Copy)]
struct Motion {
    shift: [f64; 2],
    zoom: f64,
    rotation: f64,
    waves: [Wave; 2],
}

/// A displacement of at most `height` pixels, with at most one period from side to side.
#[derive(Debug, Clone, Copy)]
struct Wave {
    height: f64,
    periods: [f64; 2],
    phase: f64,
}

impl Motion {
    fn draw(random: &mut impl Rng) -> Self {
        let mut within = |bound: f64| random.random_range(-bound..bound);
        Self {
            shift: [within(SHIFT), within(SHIFT)],
            zoom: 1.0 + within(ZOOM),
            rotation: within(ROTATION),
            waves: std::array::from_fn(|_| Wave::draw(&mut within)),
        }
    }

    /// The source position of the pixel at a row and a column.
    fn source(&self, picture: PictureSize, pixel: [f64; 2]) -> [f64; 2] {
        let middle = [(picture.height - 1.0) / 2.0, (picture.width - 1.0) / 2.0];
        let [row, column] = [pixel[0] - middle[0], pixel[1] - middle[1]];
        let (sin, cos) = self.rotation.sin_cos();
        let turned = [cos * row + sin * column, cos * column - sin * row];
        let place = picture.offset_from_middle(pixel);
        std::array::from_fn(|axis| {
            middle[axis] + self.zoom * turned[axis] + self.shift[axis] + self.waves[axis].at(place)
        })
    }
}

impl Wave {
    fn draw(within: &mut impl FnMut(f64) -> f64) -> Self {
        Self { height: within(SWAY), periods: [within(1.0), within(1.0)], phase: within(0.5) }
    }

    fn at(&self, place: [f64; 2]) -> f64 {
        self.height * (TAU * (self.periods[0] * place[0] + self.periods[1] * place[1] + self.phase)).sin()
    }
}

/// A change of light: contrast, brightness, and a gradient of brightness across the picture.
#[derive(Debug, Clone, Copy)]
struct Light {
    gain: f64,
    brightness: f64,
    tilt: [f64; 2],
}

impl Light {
    fn draw(random: &mut impl Rng) -> Self {
        let mut within = |bound: f64| random.random_range(-bound..bound);
        Self { gain: 1.0 + within(CONTRAST), brightness: within(BRIGHTNESS), tilt: [within(TILT), within(TILT)] }
    }

    /// The offset for a pixel's levels. Contrast changes around the middle of the range.
    fn added(&self, picture: PictureSize, pixel: [f64; 2]) -> f64 {
        let [down, right] = picture.offset_from_middle(pixel);
        127.5 * (1.0 - self.gain) + self.brightness + 2.0 * (self.tilt[0] * down + self.tilt[1] * right)
    }
}

/// Standard normal numbers, two at a time (Box and Muller, 1958).
struct Normal<R> {
    random: R,
    spare: Option<f64>,
}

impl<R: Rng> Normal<R> {
    fn next(&mut self) -> f64 {
        self.spare.take().unwrap_or_else(|| {
            // From (0, 1], because the logarithm of zero is not defined.
            let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
            let (sin, cos) = (TAU * self.random.random::<f64>()).sin_cos();
            self.spare = Some(radius * sin);
            radius * cos
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (64, 48);

    #[test]
    fn a_change_follows_from_seed_and_sample() {
        let change = Change::draw(1, 5, SIZE);
        assert_eq!(change, Change::draw(1, 5, SIZE));
        assert_ne!(change.positions, Change::draw(2, 5, SIZE).positions);
        assert_ne!(change.added, Change::draw(1, 6, SIZE).added);
    }

    #[test]
    fn pixels_move_a_little_and_count_only_if_they_come_from_inside() {
        let (height, width) = SIZE;
        for sample in 0..50 {
            let change = Change::draw(3, sample, SIZE);
            let mut counted = 0;
            for index in 0..height * width {
                let [row, column] = [(index / width) as f32, (index % width) as f32];
                let [from_row, from_column] = [change.positions[index], change.positions[height * width + index]];
                // Half a side times zoom and rotation is two pixels at most here.
                let reach = (SHIFT + SWAY) as f32 + 2.0;
                assert!((from_row - row).abs() < reach && (from_column - column).abs() < reach);
                let inside = |row: f32, column: f32| (8.0..=55.0).contains(&row) && (6.0..=41.0).contains(&column);
                let counts = inside(row, column) && inside(from_row, from_column);
                assert_eq!(change.mask[index] > 0.5, counts, "sample {sample}: {row}, {column}");
                counted += usize::from(counts);
            }
            assert!(counted > height * width / 3, "sample {sample}: {counted}");
        }
    }

    #[test]
    fn movements_reach_every_fraction_of_the_networks_step() {
        let shift = |sample| {
            let change = Change::draw(0, sample, SIZE);
            let middle = SIZE.0 / 2 * SIZE.1 + SIZE.1 / 2;
            change.positions[middle] - (SIZE.0 / 2) as f32
        };
        let mut quarters = [0; 4];
        (0..400).for_each(|sample| quarters[shift(sample).rem_euclid(4.0) as usize % 4] += 1);
        assert!(quarters.iter().all(|&count| count > 60), "{quarters:?}");
    }

    #[test]
    fn noise_has_the_moments_of_a_normal_distribution() {
        let mut normal = Normal { random: generator(0, Purpose::Change, 0), spare: None };
        let values: Vec<_> = (0..100_000).map(|_| normal.next()).collect();
        let moment = |power| values.iter().map(|value: &f64| value.powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.015 && (moment(2) - 1.0).abs() < 0.02, "{} {}", moment(1), moment(2));
        assert!((moment(4) - 3.0).abs() < 0.15, "{}", moment(4));
    }
}
