//! How well a network paints photos it was not trained on: the objective of its paintings, and the number of L-BFGS iterations
//! that reach the same value from noise. Johnson et al. (2016, section 4.1) report 50 to 100 for their networks. And which
//! [marks](crate::marks) its paintings have.

use candle_core::Device;
use image::RgbImage;
use image::imageops::{self, FilterType};
use impasto_common::{Error, Result, ResultExt};
use impasto_nn::StyleNet;
use serde::Serialize;
use std::path::{Path, PathBuf};

use crate::marks::{FrameIndex, GridIndex, MarkMeter, flips};
use crate::objective::{ContentTarget, Losses, Objective};
use crate::optimize::{OptimizeConfig, Search, noise, scalar};

/// How a network is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateConfig {
    /// Height and width of the square that is cut from the middle of every photo, pixels. Default: 256.
    pub size: usize,
    /// The largest number of L-BFGS iterations from noise; 0 does without the search. Default: 300.
    pub max_iterations: usize,
    /// The seed of the noise. Default: 0.
    pub seed: u64,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { size: 256, max_iterations: 300, seed: 0 }
    }
}

/// The terms of the objective, each times its weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Terms {
    /// The sum of the terms.
    pub objective: f64,
    /// The content loss.
    pub content: f64,
    /// The style loss.
    pub style: f64,
    /// The total variation.
    pub tv: f64,
}

impl Terms {
    pub(crate) fn of(losses: &Losses) -> Result<Self> {
        Ok(Self {
            objective: scalar(&losses.total)?,
            content: scalar(&losses.content)?,
            style: scalar(&losses.style)?,
            tv: scalar(&losses.tv)?,
        })
    }
}

/// The result for one photo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhotoResult {
    /// The photo.
    pub photo: PathBuf,
    /// The objective of the network's painting.
    pub painted: Terms,
    /// The objective of the unpainted photo.
    pub unpainted: Terms,
    /// L-BFGS iterations from noise until the objective is as low; `None` if the search reached its limit, or there was none.
    pub iterations: Option<usize>,
}

/// The quartiles of a number over all photos.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quartiles {
    /// The lower quartile.
    pub lower: f64,
    /// The median.
    pub median: f64,
    /// The upper quartile.
    pub upper: f64,
}

impl Quartiles {
    /// The quartiles of `values`, interpolated linearly between neighbours; `None` if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |fraction: f64| {
            let position = fraction * (values.len() - 1) as f64;
            let below = values[position.floor() as usize];
            let above = values[position.ceil() as usize];
            // Equal values need no interpolation; this includes two infinite values.
            if above <= below { below } else { below + (above - below) * position.fract() }
        };
        (!values.is_empty()).then(|| Self { lower: at(0.25), median: at(0.5), upper: at(0.75) })
    }
}

/// The results for all photos.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Height and width the photos were painted at, pixels.
    pub size: usize,
    /// The result for each photo.
    pub photos: Vec<PhotoResult>,
    /// The objective of the paintings.
    pub objective: Quartiles,
    /// Its weighted content term.
    pub content: Quartiles,
    /// Its weighted style term.
    pub style: Quartiles,
    /// Its weighted total variation.
    pub tv: Quartiles,
    /// L-BFGS iterations that reach the same objective. A search that reached its limit counts as infinity.
    #[serde(serialize_with = "finite_or_null")]
    pub iterations: Quartiles,
    /// The limit on the number of iterations.
    pub max_iterations: usize,
    /// The frame of the network's own paintings, without a margin; `None` if they are below 64 pixels.
    pub frame: Option<FrameIndex>,
    /// The pattern on the network's grid; `None` if the paintings are below 64 pixels, or flat.
    pub grid: Option<GridIndex>,
}

/// JSON cannot represent infinity.
fn finite_or_null<S: serde::Serializer>(quartiles: &Quartiles, serializer: S) -> Result<S::Ok, S::Error> {
    let finite = |value: f64| value.is_finite().then_some(value);
    let [lower, median, upper] = [quartiles.lower, quartiles.median, quartiles.upper].map(finite);
    serde_json::json!({ "lower": lower, "median": median, "upper": upper }).serialize(serializer)
}

/// Evaluates `network` on `photos`. `observe` receives every result and returns whether to continue.
///
/// # Errors
///
/// If a photo cannot be read, or there are no results because there are no photos or `observe` stops at once.
pub fn evaluate(
    network: &StyleNet,
    objective: &Objective,
    photos: &[PathBuf],
    config: &EvaluateConfig,
    device: &Device,
    mut observe: impl FnMut(&PhotoResult) -> bool,
) -> Result<Evaluation> {
    let (mut results, mut marks) = (Vec::new(), MarkMeter::default());
    for (index, path) in photos.iter().enumerate() {
        let photo = square(path, config.size)?;
        let result = evaluate_photo(network, objective, path, &photo, index as u64, config, device)
            .context(|| format!("cannot evaluate `{}`", path.display()))?;
        for flip in flips(&photo) {
            marks.add(&impasto_nn::tensor_to_rgb(&network.forward(&impasto_nn::rgb_to_tensor(&flip, device)?)?)?);
        }
        let go_on = observe(&result);
        results.push(result);
        if !go_on {
            break;
        }
    }
    summary(results, &marks, config).ok_or_else(|| Error::usage("there are no photos to evaluate on"))
}

fn summary(photos: Vec<PhotoResult>, marks: &MarkMeter, config: &EvaluateConfig) -> Option<Evaluation> {
    let quartiles = |value: fn(&PhotoResult) -> f64| Quartiles::of(photos.iter().map(value));
    Some(Evaluation {
        size: config.size,
        objective: quartiles(|photo| photo.painted.objective)?,
        content: quartiles(|photo| photo.painted.content)?,
        style: quartiles(|photo| photo.painted.style)?,
        tv: quartiles(|photo| photo.painted.tv)?,
        iterations: quartiles(|photo| photo.iterations.map_or(f64::INFINITY, |iterations| iterations as f64))?,
        max_iterations: config.max_iterations,
        frame: marks.frame(),
        grid: marks.grid(),
        photos,
    })
}

/// The middle square of a photo, `size` pixels wide.
fn square(path: &Path, size: usize) -> Result<RgbImage> {
    let photo = impasto_picture::read_rgb(path)?;
    let side = photo.width().min(photo.height());
    let (left, top) = ((photo.width() - side) / 2, (photo.height() - side) / 2);
    let middle = imageops::crop_imm(&photo, left, top, side, side).to_image();
    Ok(imageops::resize(&middle, size as u32, size as u32, FilterType::Lanczos3))
}

fn evaluate_photo(
    network: &StyleNet,
    objective: &Objective,
    path: &Path,
    photo: &RgbImage,
    counter: u64,
    config: &EvaluateConfig,
    device: &Device,
) -> Result<PhotoResult> {
    let pixels = impasto_nn::rgb_to_tensor(photo, device)?;
    let content = objective.content_target(&pixels)?;
    // The saved picture is evaluated, which is clamped to [0, 255].
    let painted = network.forward(&pixels)?.clamp(0f32, 255f32)?;
    let painted = Terms::of(&objective.losses_to(&painted, &content)?)?;
    let unpainted = Terms::of(&objective.losses_to(&pixels, &content)?)?;
    let mut iterations = None;
    if config.max_iterations > 0 {
        let start = noise(photo.width(), photo.height(), config.seed, counter);
        let search = Search::new(&start, &OptimizeConfig::default(), device)?;
        iterations = iterations_to(painted.objective, search, objective, &content, config.max_iterations)?;
    }
    Ok(PhotoResult { photo: path.to_owned(), painted, unpainted, iterations })
}

/// The number of iterations after which the objective is at most `goal`; `None` if it is more than `limit`.
fn iterations_to(
    goal: f64,
    mut search: Search,
    objective: &Objective,
    content: &ContentTarget,
    limit: usize,
) -> Result<Option<usize>> {
    for iteration in 0..=limit {
        if scalar(&search.step(objective, content)?.total)? <= goal {
            return Ok(Some(iteration));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values_that_they_separate() {
        let quartiles = Quartiles::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(quartiles, Quartiles { lower: 1.75, median: 2.5, upper: 3.25 });
        assert_eq!(Quartiles::of([]), None);
    }

    #[test]
    fn a_search_that_gave_up_counts_as_larger_than_all_others() {
        let quartiles = Quartiles::of([f64::INFINITY, 10.0, f64::INFINITY]).unwrap();
        assert_eq!((quartiles.lower, quartiles.median), (f64::INFINITY, f64::INFINITY));
        let quartiles = Quartiles::of([f64::INFINITY, 10.0, 20.0]).unwrap();
        assert_eq!((quartiles.lower, quartiles.median, quartiles.upper), (15.0, 20.0, f64::INFINITY));
    }
}
