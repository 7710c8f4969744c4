//! The statistics that normalise: a picture's own, or those of a film.

use impasto_kernels::layout::Moments;

/// What the normalisations of a painting go by.
///
/// Instance normalisation answers to the whole picture: when something bright enters a frame, everything else is painted a
/// little differently. Over the frames of a film, which the network never met in training, that is flicker; means and
/// variances that follow slowly take it away.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// The weight of the frames before.
    keep: f64,
    /// Mean and variance of each channel of each normalisation.
    layers: Vec<Vec<[f64; 2]>>,
    next: usize,
}

impl Statistics {
    /// Every picture has its own.
    #[must_use]
    pub fn own() -> Self {
        Self::default()
    }

    /// Exponential averages over frames: `keep`, from 0 to below 1, is the weight of those before.
    #[must_use]
    pub fn over_frames(keep: f32) -> Self {
        Self { keep: f64::from(keep.clamp(0.0, 0.99)), ..Self::default() }
    }

    /// Forgets all frames.
    pub fn reset(&mut self) {
        self.layers.clear();
    }

    /// The next normalisation is the first of a painting.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// What to normalise by, from the `moments` of the next normalisation's own picture.
    pub(super) fn follow(&mut self, mut moments: Vec<Moments>) -> Vec<Moments> {
        if self.keep == 0.0 {
            return moments;
        }
        let own = |moments: &Moments| [moments.mean, moments.squares / moments.count.max(1.0)];
        match self.layers.get_mut(self.next) {
            Some(layer) if layer.len() == moments.len() => {
                for (kept, moments) in layer.iter_mut().zip(&mut moments) {
                    let own = own(moments);
                    for (kept, own) in kept.iter_mut().zip(own) {
                        *kept = own + self.keep * (*kept - own);
                    }
                    moments.mean = kept[0];
                    moments.squares = kept[1] * moments.count;
                }
            }
            // The first frame, or another network's.
            _ => {
                self.layers.truncate(self.next);
                self.layers.push(moments.iter().map(own).collect());
            }
        }
        self.next += 1;
        moments
    }

    /// The weight of the frames before.
    #[cfg(feature = "cuda")]
    pub(super) fn keep(&self) -> f64 {
        self.keep
    }

    /// Mean and variance of all channels as the frames before had them, if these were frames of a network whose
    /// normalisations have so many channels.
    #[cfg(feature = "cuda")]
    pub(super) fn kept(&self, channels: &[usize]) -> Option<&[Vec<[f64; 2]>]> {
        let same = self.layers.iter().map(Vec::len).eq(channels.iter().copied());
        (self.keep > 0.0 && same).then_some(&self.layers)
    }

    /// Keeps what a frame was normalised by, which is mixed already.
    #[cfg(feature = "cuda")]
    pub(super) fn replace(&mut self, layers: Vec<Vec<[f64; 2]>>) {
        if self.keep > 0.0 {
            self.layers = layers;
        }
    }
}
