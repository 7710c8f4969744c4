//! The temporal loss: how much a painting changes under small changes of movement, light and noise in its photo.
//!
//! A network trained only on photos paints each frame of a video independently, and the result flickers. The loss draws a small
//! random change of a photo x (a movement T, a change of light, noise) and compares the painting of the changed photo with the
//! moved painting: mean M (f(T x + light + noise) - T f(x))^2, where M excludes pixels that moved in from outside the picture.
//!
//! Ruder et al. (2016) and Huang et al. (2017) take x and its successor from videos and T from optical flow. Zheng et al.
//! (2016, stability training) need no second picture, only noise; Wang et al. (2020, compound regularisation) add a movement of
//! the whole picture: T is then known exactly, and any photo can be used like a clip. We do the same, adapted to our
//! network:
//!
//! - **The gradient flows through both paintings**, as in Huang et al. and Zheng et al., because neither is the ground truth.
//!   (Ruder et al. keep the earlier frame constant, because it is already shown.) The other terms are computed on the first
//!   painting only, so a change costs no pass through the loss network.
//! - **Light does not pass to the painting.** Gao et al. (2018) let the painting follow the photo's luminance. Here instance
//!   normalisation removes any gain or offset of a whole picture exactly. Such a change costs nothing, and no painting can
//!   follow it. So the light changes as in a real scene, more on one side than on the other, up to clipped highlights, and the
//!   painting should stay the same. A painting that follows by a few levels has a small loss; different strokes have a large
//!   loss.
//! - **Noise makes even the video of a still camera flicker.** Its strength is random, up to that of a phone at night.
//! - **Movements are small.** The network subsamples by 4, so a movement by 4 pixels costs almost nothing, and larger movements
//!   only repeat those up to 4. Zoom, rotation and bending move each part of the picture by a different fraction of a pixel.
//! - **Interpolation is cubic.** Linear interpolation blurs the painting, and so teaches the network to blur. (Gupta et al.,
//!   2017, show that styles with stronger texture are less stable. The easiest way to be stable is to have no texture.)

mod change;

use candle_core::{Device, Tensor};
use impasto_common::Result;
use impasto_nn::ops;
use rayon::prelude::*;

use self::change::Change;

/// The smallest variance of a style's colours that is used, square levels. It avoids a division by zero.
const LEAST_VARIANCE: f64 = 1.0;

/// The temporal loss of one style.
///
/// Its unit is the mean squared difference between two random pixels of the style picture, which is twice the variance of its
/// colours. A painting that moves exactly with its photo has a loss of 0. A painting that is independent in every frame has a
/// loss of about 1, in any style.
#[derive(Debug, Clone, Copy)]
pub struct TemporalLoss {
    weight: f64,
    seed: u64,
    unit: f64,
}

impl TemporalLoss {
    /// The loss with the given weight for paintings in the style of `style` `(1, 3, height, width)`, RGB in `[0, 255]`.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn new(weight: f64, seed: u64, style: &Tensor) -> Result<Self> {
        let colours = style.flatten_from(2)?;
        let variance = colours.broadcast_sub(&colours.mean_keepdim(2)?)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
        Ok(Self { weight, seed, unit: 2.0 * f64::from(variance).max(LEAST_VARIANCE) })
    }

    /// The weighted loss, a scalar, of the network that `paint` applies and of its paintings `painted` of `photos`, both
    /// `(batch, 3, height, width)`, RGB in `[0, 255]`. The first photo has the number `sample`. The change of a photo depends only on the
    /// seed and its number. For a micro-batch or a share, `visible` is [`Self::visible`] of the whole batch.
    ///
    /// # Errors
    ///
    /// If the shapes differ or are too small for the network.
    pub fn of(
        &self,
        paint: impl FnOnce(&Tensor) -> Result<Tensor>,
        photos: &Tensor,
        painted: &Tensor,
        sample: u64,
        visible: Option<f64>,
    ) -> Result<Tensor> {
        let (batch, _, height, width) = photos.dims4()?;
        let draw = |picture| Change::draw(self.seed, sample + picture as u64, (height, width));
        let changes: Vec<_> = (0..batch).into_par_iter().map(draw).collect();
        let changes = Changes::stack(&changes, (height, width), photos.device())?;
        let changed = paint(&changes.of_photos(photos)?)?;
        let moved = ops::warp(painted, &changes.positions)?;
        let difference = ops::mse(&changed.broadcast_mul(&changes.mask)?, &moved.broadcast_mul(&changes.mask)?)?;
        Ok((difference * (self.weight / (self.unit * visible.unwrap_or(changes.visible))))?)
    }

    /// The fraction of all pixels that count, in `photos` photos of `(height, width)` pixels. The first has the number `sample`.
    #[must_use]
    pub fn visible(&self, sample: u64, photos: usize, (height, width): (usize, usize)) -> f64 {
        let count = |picture| Change::visible(self.seed, sample + picture as u64, (height, width));
        counted_fraction(&(0..photos).into_par_iter().map(count).collect::<Vec<_>>(), height * width)
    }
}

/// The fraction of pixels that count, given how many count in each picture of `pixels` pixels.
fn counted_fraction(visible: &[usize], pixels: usize) -> f64 {
    // If the pictures are smaller than their margins, no pixel counts and the loss is 0.
    visible.iter().sum::<usize>().max(1) as f64 / (visible.len() * pixels) as f64
}

/// The changes of a batch as tensors.
#[derive(Debug)]
struct Changes {
    /// The source position of every pixel, as [`ops::warp`] takes it.
    positions: Tensor,
    /// The factor for every level, `(batch, 1, 1, 1)`.
    gain: Tensor,
    /// The offset for every level, `(batch, 3, height, width)`.
    added: Tensor,
    /// 1 where a pixel counts and 0 elsewhere, `(batch, 1, height, width)`.
    mask: Tensor,
    /// The fraction of all pixels that count.
    visible: f64,
}

impl Changes {
    fn stack(changes: &[Change], (height, width): (usize, usize), device: &Device) -> Result<Self> {
        let all = |field: fn(&Change) -> &[f32], channels: usize| {
            let values: Vec<f32> = changes.iter().flat_map(field).copied().collect();
            Tensor::from_vec(values, (changes.len(), channels, height, width), device)
        };
        let visible = changes.iter().map(|change| change.mask.iter().filter(|&&mask| mask > 0.0).count());
        let gains: Vec<f32> = changes.iter().map(|change| change.gain).collect();
        Ok(Self {
            positions: all(|change| &change.positions, 2)?,
            gain: Tensor::from_vec(gains, (changes.len(), 1, 1, 1), device)?,
            added: all(|change| &change.added, 3)?,
            mask: all(|change| &change.mask, 1)?,
            visible: counted_fraction(&visible.collect::<Vec<_>>(), height * width),
        })
    }

    fn of_photos(&self, photos: &Tensor) -> Result<Tensor> {
        let moved = ops::warp(photos, &self.positions)?;
        Ok((moved.broadcast_mul(&self.gain)? + &self.added)?.clamp(0f32, 255f32)?)
    }
}

#[cfg(test)]
mod tests {
    use impasto_common::network::StyleNetConfig;

    use super::*;
    use crate::init;

    const SIZE: usize = 40;

    fn picture(size: usize) -> Tensor {
        let level = |index: usize| (index * index % 251) as f32;
        Tensor::from_vec((0..3 * size * size).map(level).collect(), (1, 3, size, size), &Device::Cpu).unwrap()
    }

    fn scalar(tensor: &Tensor) -> f64 {
        f64::from(tensor.to_scalar::<f32>().unwrap())
    }

    #[test]
    fn the_unit_is_the_mean_squared_difference_of_two_random_pixels_of_the_style() {
        // Levels 0 and 200 in every channel: half of all random pairs differ, by 200.
        let style = Tensor::new(&[0f32, 200.], &Device::Cpu).unwrap().reshape((1, 1, 1, 2)).unwrap();
        let style = style.broadcast_as((1, 3, 4, 2)).unwrap();
        let loss = TemporalLoss::new(1.0, 0, &style).unwrap();
        assert!((loss.unit - 0.5 * 200.0 * 200.0).abs() < 1e-6, "{}", loss.unit);
        let grey = Tensor::full(9f32, (1, 3, 4, 4), &Device::Cpu).unwrap();
        assert!((TemporalLoss::new(1.0, 0, &grey).unwrap().unit - 2.0).abs() < 1e-9);
    }

    #[test]
    fn paintings_that_move_with_their_photos_cost_nothing_and_others_do() {
        let config = StyleNetConfig { channels: 2, blocks: 1 };
        let parameters = init::random_parameters(&config, 1, &Device::Cpu).unwrap();
        let network = init::network(&config, &parameters).unwrap();
        let (photo, loss) = (picture(SIZE), TemporalLoss::new(0.5, 3, &picture(8)).unwrap());
        let painted = network.forward(&photo).unwrap();
        let of = |loss: &TemporalLoss, painted: &Tensor, sample| {
            scalar(&loss.of(|photo| Ok(network.forward(photo)?), &photo, painted, sample, None).unwrap())
        };
        let found = of(&loss, &painted, 7);
        assert!(found > 0.0);
        let twice = TemporalLoss { weight: 1.0, ..loss };
        assert!((of(&twice, &painted, 7) / found - 2.0).abs() < 1e-5);
        assert_ne!(of(&loss, &painted, 8).to_bits(), found.to_bits(), "every photo has a change of its own");
        // With weights of zero, every painting has one colour and does not change with the photo.
        for (name, parameter) in &parameters {
            if !name.ends_with("bias") {
                parameter.set(&parameter.zeros_like().unwrap()).unwrap();
            }
        }
        assert!(of(&loss, &network.forward(&photo).unwrap(), 7) < 1e-12);
    }

    #[test]
    fn the_gradient_comes_through_both_paintings() {
        let config = StyleNetConfig { channels: 2, blocks: 1 };
        let parameters = init::random_parameters(&config, 1, &Device::Cpu).unwrap();
        let network = init::network(&config, &parameters).unwrap();
        let (photo, loss) = (picture(SIZE), TemporalLoss::new(1.0, 3, &picture(8)).unwrap());
        let gradient = |painted: &Tensor| {
            let gradients =
                loss.of(|photo| Ok(network.forward(photo)?), &photo, painted, 0, None).unwrap().backward().unwrap();
            gradients
                .get(&parameters["deconv3.conv2d.weight"])
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        let painted = network.forward(&photo).unwrap();
        let (both, one) = (gradient(&painted), gradient(&painted.detach()));
        let largest = both.iter().zip(&one).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(largest > 1e-3 * one.iter().fold(0f32, |most, value| most.max(value.abs())), "{largest}");
    }

    #[test]
    fn a_photo_in_a_batch_is_changed_as_it_is_alone() {
        let changes: Vec<_> = (4..6).map(|sample| Change::draw(9, sample, (SIZE, SIZE))).collect();
        let stack = |changes: &[Change]| Changes::stack(changes, (SIZE, SIZE), &Device::Cpu).unwrap();
        let photo = picture(SIZE);
        let both = stack(&changes).of_photos(&photo.broadcast_as((2, 3, SIZE, SIZE)).unwrap()).unwrap();
        let alone = stack(&changes[1..]).of_photos(&photo).unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&both.narrow(0, 1, 1).unwrap()), flat(&alone));
        let loss = TemporalLoss { weight: 1.0, seed: 9, unit: 1.0 };
        assert_eq!(loss.visible(4, 2, (SIZE, SIZE)).to_bits(), stack(&changes).visible.to_bits());
        assert!(flat(&both).iter().all(|level| (0.0..=255.0).contains(level)));
    }
}
