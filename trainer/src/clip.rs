//! Measures how much painted clips flicker, with their content and style losses.
//!
//! The measure is the warping error of Lai et al. (2018, "Learning Blind Video Temporal Consistency", section 4.2). For
//! frames `V_t` of a painted clip, RGB in `[0, 1]`,
//!
//! ```text
//! E(V_t, V_t+1) = 1 / sum M_t * sum over pixels M_t(p) |V_t(p) - V_t+1(p + w_t(p))|^2
//! E(V)          = mean of E(V_t, V_t+1) over all pairs
//! ```
//!
//! with the squared Euclidean norm over the three channels (their program takes the mean over channels, which is a third of it),
//! `V_t+1` interpolated linearly, `w_t` the flow from the *original* frame `t` to the next, and `M_t` 1 where the pixel is
//! visible in both frames and not on a motion boundary, according to the two inequalities of Ruder et al. (2016) that
//! [`impasto_flow::Trust::SeenInside`] implements. The error of the original clip, caused by noise, light and errors of the
//! flow, is the lower limit. The flow is our own at full size ([`FlowOptions::fine`]), not `FlowNet2`.
//!
//! A blurred painting also has a low error, so the content and style losses of the training objective are reported too.

mod frames;

use std::path::{Path, PathBuf};

use candle_core::Device;
use image::RgbImage;
use impasto_common::{Error, Result, ResultExt};
use impasto_flow::{Flow, FlowFrame, FlowOptions, Pyramid, Trust};
use impasto_picture::{self, Picture};
use serde::Serialize;

use crate::evaluate::Terms;
use crate::objective::Objective;

pub use frames::Frames;

/// How clips are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipConfig {
    /// Losses are computed on every Nth frame, starting with the first. Default: 10.
    pub loss_every: usize,
    /// The largest number of frames to read. Default: no limit.
    pub max_frames: Option<usize>,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self { loss_every: 10, max_frames: None }
    }
}

/// The result for one clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipResult {
    /// The clip.
    pub path: PathBuf,
    /// Its warping error.
    pub warping_error: f64,
    /// The means of its losses, each times its weight; `None` without an objective.
    pub losses: Option<Terms>,
}

/// The results for all clips.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipEvaluation {
    /// The number of frames compared.
    pub frames: usize,
    /// Their height, pixels.
    pub height: u32,
    /// Their width, pixels.
    pub width: u32,
    /// The fraction of pixels that count, averaged over pairs.
    pub seen: f64,
    /// The original clip. Its warping error is the lower limit; its losses are those of the unpainted frames.
    pub original: ClipResult,
    /// The painted clips.
    pub painted: Vec<ClipResult>,
}

/// Evaluates `painted` clips of the `original`, each a video or a folder of frames. `observe` receives the number of
/// frames done and returns whether to continue.
///
/// # Errors
///
/// If a clip cannot be read, if a painted clip differs from the original in the number of frames or from the other painted
/// clips in size, or if there are fewer than two frames.
pub fn evaluate(
    original: &Path,
    painted: &[PathBuf],
    objective: Option<(&Objective, &Device)>,
    config: &ClipConfig,
    mut observe: impl FnMut(usize) -> bool,
) -> Result<ClipEvaluation> {
    let mut paintings = painted.iter().map(|path| Track::open(path, None)).collect::<Result<Vec<_>>>()?;
    let first = paintings.first().ok_or_else(|| Error::usage("there is no painted clip to evaluate"))?;
    let size = first.frames.size();
    for other in &paintings {
        if other.frames.size() != size {
            let (a, b) = (first.path.display(), other.path.display());
            return Err(Error::usage(format!("`{a}` and `{b}` have frames of different sizes")));
        }
    }
    let mut original = Track::open(original, Some(size))?;
    let mut before: Option<Pyramid> = None;
    let (mut frames, mut seen) = (0, 0.0);
    while config.max_frames.is_none_or(|most| frames < most) {
        let Some(photo) = original.next_frame()? else {
            if let Some(longer) = longer_than(&mut paintings, frames)? {
                return Err(longer);
            }
            break;
        };
        let paints = paintings.iter_mut().map(|track| track.frame_of(frames)).collect::<Result<Vec<_>>>()?;
        if let Some((objective, device)) = objective.filter(|_| frames % config.loss_every.max(1) == 0) {
            let target = impasto_nn::rgb_to_tensor(&photo, device)?;
            let content = objective.content_target(&target)?;
            for (track, image) in
                std::iter::once(&mut original).chain(&mut paintings).zip(std::iter::once(&photo).chain(&paints))
            {
                let losses = objective.losses_to(&impasto_nn::rgb_to_tensor(image, device)?, &content)?;
                track.losses.push(Terms::of(&losses)?);
            }
        }
        let photo = FlowFrame::of(&Picture::from(photo));
        let pyramid = Pyramid::new(&photo);
        let pair = before.take().map(|before| Pair::between(&before, &pyramid));
        original.compare(photo, pair.as_ref());
        for (track, image) in paintings.iter_mut().zip(paints) {
            track.compare(FlowFrame::of(&Picture::from(image)), pair.as_ref());
        }
        seen += pair.map_or(0.0, |pair| pair.seen());
        before = Some(pyramid);
        frames += 1;
        if !observe(frames) {
            break;
        }
    }
    if frames < 2 {
        return Err(Error::usage(format!("`{}` has fewer than two frames", original.path.display())));
    }
    Ok(ClipEvaluation {
        frames,
        height: size.1,
        width: size.0,
        seen: seen / (frames - 1) as f64,
        original: original.result(),
        painted: paintings.into_iter().map(Track::result).collect(),
    })
}

/// An error if a painting has more frames than the original.
fn longer_than(paintings: &mut [Track], frames: usize) -> Result<Option<Error>> {
    for track in paintings {
        if track.next_frame()?.is_some() {
            let path = track.path.display();
            return Ok(Some(Error::new(format!("`{path}` has more than the {frames} frames of the original"))));
        }
    }
    Ok(None)
}

/// Two frames of the original: the flow from the first to the second, and the pixels that count.
struct Pair {
    flow: Flow,
    mask: Vec<bool>,
}

impl Pair {
    fn between(first: &Pyramid, second: &Pyramid) -> Self {
        let options = FlowOptions::fine();
        let flow = Flow::between(first, second, &options);
        let mask = flow.agrees(&Flow::between(second, first, &options), Trust::SeenInside);
        Self { flow, mask }
    }

    /// The fraction of pixels that count.
    fn seen(&self) -> f64 {
        self.mask.iter().filter(|&&seen| seen).count() as f64 / self.mask.len().max(1) as f64
    }

    /// The warping error of two frames; `None` if no pixel counts, for example across a cut.
    fn error(&self, first: &FlowFrame, second: &FlowFrame) -> Option<f64> {
        let moved = second.along(&self.flow);
        let (mut sum, mut count) = (0.0, 0u64);
        for ((first, second), _) in first.pixels().iter().zip(moved.pixels()).zip(&self.mask).filter(|(_, seen)| **seen)
        {
            let square = |channel: usize| f64::from((first[channel] - second[channel]) / 255.0).powi(2);
            sum += square(0) + square(1) + square(2);
            count += 1;
        }
        (count > 0).then(|| sum / count as f64)
    }
}

/// A clip while it is read, and its results so far.
struct Track {
    path: PathBuf,
    frames: Frames,
    before: Option<FlowFrame>,
    errors: Vec<f64>,
    losses: Vec<Terms>,
}

impl Track {
    fn open(path: &Path, size: Option<(u32, u32)>) -> Result<Self> {
        let frames = Frames::open(path, size)?;
        Ok(Self { path: path.to_owned(), frames, before: None, errors: Vec::new(), losses: Vec::new() })
    }

    fn next_frame(&mut self) -> Result<Option<RgbImage>> {
        self.frames.next().transpose().context(|| format!("cannot read `{}`", self.path.display()))
    }

    /// The next frame; an error if the clip ends before the original.
    fn frame_of(&mut self, index: usize) -> Result<RgbImage> {
        let path = self.path.display().to_string();
        let frame = self.next_frame()?;
        frame.ok_or_else(|| Error::new(format!("`{path}` has only {index} frames, and the original has more")))
    }

    fn compare(&mut self, frame: FlowFrame, pair: Option<&Pair>) {
        let pair = pair.zip(self.before.as_ref());
        self.errors.extend(pair.and_then(|(pair, before)| pair.error(before, &frame)));
        self.before = Some(frame);
    }

    fn result(self) -> ClipResult {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let loss = |term: fn(&Terms) -> f64| mean(&self.losses.iter().map(term).collect::<Vec<_>>());
        let losses = (!self.losses.is_empty()).then(|| Terms {
            objective: loss(|terms| terms.objective),
            content: loss(|terms| terms.content),
            style: loss(|terms| terms.style),
            tv: loss(|terms| terms.tv),
        });
        ClipResult { warping_error: mean(&self.errors), losses, path: self.path }
    }
}

#[cfg(test)]
mod tests;
