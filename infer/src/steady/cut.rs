//! Detects cuts between scenes of a film.

use impasto_flow::FlowFrame;

/// Frames whose histograms share less than this belong to different scenes. A flash counts as a scene too, which does no harm.
const LEAST_OVERLAP: f32 = 0.45;

/// Width of a histogram's bin, levels of luma.
const BIN: f32 = 8.0;

/// The histogram of a frame's luma.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram([f32; 32]);

impl Histogram {
    /// The histogram of every fourth pixel.
    pub(super) fn of(frame: &FlowFrame) -> Self {
        let mut counts = [0.0f32; 32];
        let pixels = frame.pixels().iter().step_by(4);
        let share = 1.0 / pixels.len().max(1) as f32;
        for pixel in pixels {
            counts[(pixel[3] / BIN) as usize % 32] += 1.0;
        }
        Self(counts.map(|count| count * share))
    }

    /// The share of the pixels in each bin.
    pub(super) fn shares(&self) -> &[f32] {
        &self.0
    }

    /// From [`Self::shares`]; `None` if there is another number of them.
    pub(super) fn from_shares(shares: &[f32]) -> Option<Self> {
        shares.try_into().map(Self).ok()
    }

    /// Whether this frame and the one before belong to different scenes.
    ///
    /// Bins are smoothed first, because a change of light, which is not a cut, shifts all levels a little.
    pub(super) fn is_cut_from(&self, before: &Self) -> bool {
        let smooth = |bins: &[f32; 32]| -> [f32; 32] {
            std::array::from_fn(|i| {
                let around = [i.saturating_sub(2), i.saturating_sub(1), i, (i + 1).min(31), (i + 2).min(31)];
                around.map(|i| bins[i]).iter().sum::<f32>() / 5.0
            })
        };
        let overlap: f32 = smooth(&self.0).iter().zip(smooth(&before.0)).map(|(a, b)| a.min(b)).sum();
        overlap < LEAST_OVERLAP
    }
}
