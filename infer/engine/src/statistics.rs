//! The statistics of the normalisations: a picture's own, or averages over the frames of a film.

use impasto_kernels::layout::Moments;

/// The statistics that a painting is normalised with.
///
/// Instance normalisation depends on the whole picture: when something bright enters a frame, everything else is painted a
/// little differently. Over the frames of a film, which are not part of the training, this causes flicker. Means and
/// variances that change slowly remove it.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// The weight of the frames before.
    keep: f64,
    /// Mean and variance of each channel of each normalisation.
    layers: Vec<Vec<[f64; 2]>>,
    next: usize,
}

impl Statistics {
    /// Every picture is normalised with its own statistics.
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

    /// Mean and variance of each channel of each normalisation over the earlier frames. Empty if there are none.
    #[must_use]
    pub fn layers(&self) -> &[Vec<[f64; 2]>] {
        &self.layers
    }

    /// Continues behind frames whose [`Self::layers`] were these.
    pub fn replace(&mut self, layers: Vec<Vec<[f64; 2]>>) {
        if self.keep > 0.0 {
            self.layers = layers;
        }
    }

    /// Starts a painting: the next normalisation is its first.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The statistics to normalise with, from the picture's own `moments` at the next normalisation.
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
            // The first frame, or a frame of another network.
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

    /// Mean and variance of all channels over the earlier frames, if their network's normalisations have these numbers of
    /// channels.
    #[cfg(feature = "cuda")]
    pub(super) fn kept(&self, channels: &[usize]) -> Option<&[Vec<[f64; 2]>]> {
        let same = self.layers.iter().map(Vec::len).eq(channels.iter().copied());
        (self.keep > 0.0 && same).then_some(&self.layers)
    }
}
