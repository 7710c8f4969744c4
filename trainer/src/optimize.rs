//! Style transfer by optimising the pixels of a picture (Gatys et al., 2015). It takes minutes for each picture, and is the
//! reference for quality.
//!
//! Coarse scales come first, because a stroke wider than the loss network's receptive field cannot form at full size. The idea
//! and the order are those of crowsonkb/style-transfer-pytorch.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Tensor, Var};
use image::RgbImage;
use image::imageops::{self, FilterType};
use impasto_common::{Error, Result};
use rand::Rng;

use crate::adam::{Adam, AdamConfig, Gradients};
use crate::init::Parameters;
use crate::lbfgs::{Lbfgs, LbfgsConfig};
use crate::objective::{ContentTarget, Losses, Objective, ObjectiveConfig};
use crate::random::{self, Purpose};
use impasto_nn::loss_network::LossNetwork;

/// The name of Adam's only parameter.
const PICTURE: &str = "picture";

/// The optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// L-BFGS: needs the fewest iterations, and memory for 200 pictures.
    #[default]
    Lbfgs,
    /// Adam: needs memory for two pictures.
    Adam,
}

/// The picture that the optimisation starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// The photo, which keeps its content best.
    #[default]
    Photo,
    /// White noise, as in Gatys et al. (2015).
    Noise,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Lbfgs { "lbfgs" } else { "adam" })
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lbfgs" => Ok(Self::Lbfgs),
            "adam" => Ok(Self::Adam),
            _ => Err("expected `lbfgs` or `adam`".into()),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Photo { "photo" } else { "noise" })
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "photo" => Ok(Self::Photo),
            "noise" => Ok(Self::Noise),
            _ => Err("expected `photo` or `noise`".into()),
        }
    }
}

/// How a picture is optimised.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizeConfig {
    /// The objective that is minimised.
    pub objective: ObjectiveConfig,
    /// Long side of the result, pixels; a smaller photo is not enlarged. Default: 512.
    pub size: usize,
    /// Short side of the style picture at the last scale, pixels; a smaller one is not enlarged. Default: 512.
    pub style_size: usize,
    /// The number of scales, each half the size of the next. Default: 2.
    pub scales: usize,
    /// Iterations at each scale. Default: 100.
    pub iterations: usize,
    /// The optimiser. Default: L-BFGS.
    pub method: Method,
    /// The initial picture. Default: the photo.
    pub start: Start,
    /// Step size of Adam, in levels of 0 to 255. Default: 5.
    pub learning_rate: f64,
    /// Past steps that L-BFGS keeps. Default: 100.
    pub history: usize,
    /// The seed of the noise. Default: 0.
    pub seed: u64,
}

impl Default for OptimizeConfig {
    fn default() -> Self {
        Self {
            objective: ObjectiveConfig::default(),
            size: 512,
            style_size: 512,
            scales: 2,
            iterations: 100,
            method: Method::default(),
            start: Start::default(),
            learning_rate: 5.0,
            history: LbfgsConfig::default().history,
            seed: 0,
        }
    }
}

impl OptimizeConfig {
    /// Checks that all values are valid.
    ///
    /// # Errors
    ///
    /// If a value is out of range; the error names the option.
    pub fn validate(&self) -> Result<()> {
        for (flag, value) in [("--scales", self.scales), ("--iterations", self.iterations), ("--history", self.history)]
        {
            if value == 0 {
                return Err(Error::usage(format!("`{flag}` must be at least 1")));
            }
        }
        let smallest = self.size.min(self.style_size) >> (self.scales - 1).min(16);
        if smallest < 32 {
            return Err(Error::usage(format!(
                "`--scales {}` starts at {smallest} pixels, below the minimum of 32",
                self.scales
            ))
            .with_hint("use fewer scales or larger sizes"));
        }
        self.objective.validate()
    }

    fn optimiser(&self, values: &Var) -> Result<Optimiser> {
        Ok(match self.method {
            Method::Lbfgs => Optimiser::Lbfgs(Lbfgs::new(picture_lbfgs(self.history, values.elem_count()))),
            Method::Adam => {
                let parameters = BTreeMap::from([(PICTURE.to_owned(), values.clone())]);
                Optimiser::Adam(Adam::new(AdamConfig::default(), &parameters)?, parameters, self.learning_rate)
            }
        })
    }
}

/// L-BFGS whose first step changes a picture of `values` values by one level on average.
pub(crate) fn picture_lbfgs(history: usize, values: usize) -> LbfgsConfig {
    LbfgsConfig { history, first_step: values as f64, ..LbfgsConfig::default() }
}

/// The progress of an optimisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Iterations done, at all scales.
    pub iteration: usize,
    /// Total number of iterations.
    pub iterations: usize,
    /// Height and width at this scale, pixels.
    pub size: (usize, usize),
    /// The objective before this iteration.
    pub objective: f64,
    /// Its weighted content term.
    pub content: f64,
    /// Its weighted style term.
    pub style: f64,
}

/// Paints `photo` in the style of `style`. `observe` is called after every iteration and returns whether to continue.
///
/// If it is stopped, it returns the current picture, at the size of the current scale.
///
/// # Errors
///
/// If the configuration is not valid, or the objective never becomes finite.
pub fn optimize(
    network: &LossNetwork,
    photo: &RgbImage,
    style: &RgbImage,
    config: &OptimizeConfig,
    mut observe: impl FnMut(&Progress) -> bool,
) -> Result<RgbImage> {
    config.validate()?;
    let device = network.device();
    let mut painted: Option<RgbImage> = None;
    let mut go_on = true;
    for scale in 0..config.scales {
        let halvings = config.scales - 1 - scale;
        let photo = fit(photo, |photo| photo.width().max(photo.height()), (config.size >> halvings) as u32);
        let style = fit(style, |style| style.width().min(style.height()), (config.style_size >> halvings) as u32);
        let objective =
            Objective::new(network.clone(), &impasto_nn::rgb_to_tensor(&style, device)?, &config.objective)?;
        let (width, height) = photo.dimensions();
        let start = match (painted.take(), config.start) {
            (Some(before), _) => imageops::resize(&before, width, height, FilterType::CatmullRom),
            (None, Start::Photo) => photo.clone(),
            (None, Start::Noise) => noise(width, height, config.seed, 0),
        };
        let content = objective.content_target(&impasto_nn::rgb_to_tensor(&photo, device)?)?;
        let mut search = Search::new(&start, config, device)?;
        for iteration in 0..config.iterations {
            let losses = search.step(&objective, &content)?;
            go_on = observe(&Progress {
                iteration: scale * config.iterations + iteration + 1,
                iterations: config.scales * config.iterations,
                size: (height as usize, width as usize),
                objective: scalar(&losses.total)?,
                content: scalar(&losses.content)?,
                style: scalar(&losses.style)?,
            });
            if !go_on {
                break;
            }
        }
        painted = Some(impasto_nn::tensor_to_rgb(search.best()?)?);
        if !go_on {
            break;
        }
    }
    painted.ok_or_else(|| Error::new("no scale was painted"))
}

/// Shrinks `picture` so that `side` of it is `length` pixels; a smaller picture is returned unchanged.
fn fit(picture: &RgbImage, side: impl Fn(&RgbImage) -> u32, length: u32) -> RgbImage {
    let now = side(picture);
    if now <= length {
        return picture.clone();
    }
    let scaled = |value: u32| (u64::from(value) * u64::from(length)).div_ceil(u64::from(now)).max(1) as u32;
    imageops::resize(picture, scaled(picture.width()), scaled(picture.height()), FilterType::Lanczos3)
}

/// White noise: every value uniform over all 256 levels. `counter` separates pictures with the same seed.
pub(crate) fn noise(width: u32, height: u32, seed: u64, counter: u64) -> RgbImage {
    let mut picture = RgbImage::new(width, height);
    random::generator(seed, Purpose::Noise, counter).fill_bytes(&mut picture);
    picture
}

/// A picture that is being optimised.
pub(crate) struct Search {
    picture: Var,
    optimiser: Optimiser,
    best: Option<(f64, Tensor)>,
}

enum Optimiser {
    Lbfgs(Lbfgs),
    Adam(Adam, Parameters, f64),
}

impl Search {
    pub(crate) fn new(start: &RgbImage, config: &OptimizeConfig, device: &Device) -> Result<Self> {
        let picture = Var::from_tensor(&impasto_nn::rgb_to_tensor(start, device)?)?;
        let optimiser = config.optimiser(&picture)?;
        Ok(Self { picture, optimiser, best: None })
    }

    /// Evaluates the objective, then moves the picture. Returns the losses from before the move.
    pub(crate) fn step(&mut self, objective: &Objective, content: &ContentTarget) -> Result<Losses> {
        let losses = objective.losses_to(self.picture.as_tensor(), content)?;
        let value = scalar(&losses.total)?;
        match &self.best {
            Some((best, picture)) if !value.is_finite() || value > 2.0 * best => {
                // A step without a line search can diverge. Go back, and restart the curvature model.
                self.picture.set(&picture.copy()?)?;
                self.optimiser.reset();
                return Ok(losses);
            }
            None if !value.is_finite() => return Err(Error::new("the objective of the first picture is not finite")),
            Some((best, _)) if value >= *best => {}
            _ => self.best = Some((value, self.picture.as_tensor().detach().copy()?)),
        }
        let gradients = losses.total.backward()?;
        self.optimiser.step(&self.picture, &gradients)?;
        Ok(losses)
    }

    /// The picture with the lowest objective so far.
    fn best(&self) -> Result<&Tensor> {
        self.best.as_ref().map(|(_, picture)| picture).ok_or_else(|| Error::new("no iteration was run"))
    }
}

impl Optimiser {
    fn step(&mut self, picture: &Var, gradients: &candle_core::backprop::GradStore) -> Result<()> {
        match self {
            Self::Adam(adam, parameters, rate) => {
                adam.step(parameters, &Gradients::of(parameters, gradients)?, *rate, 1.0)
            }
            Self::Lbfgs(lbfgs) => {
                let gradient =
                    gradients.get(picture).ok_or_else(|| Error::new("the objective does not depend on the picture"))?;
                let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                let mut values = picture.flatten_all()?.to_vec1::<f32>()?;
                lbfgs.step(&mut values, &gradient);
                Ok(picture.set(&Tensor::from_vec(values, picture.shape(), picture.device())?)?)
            }
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Lbfgs(lbfgs) => lbfgs.reset(),
            // Adam's steps are bounded, so it recovers by itself.
            Self::Adam(..) => {}
        }
    }
}

pub(crate) fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}
