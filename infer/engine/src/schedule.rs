//! What the engine decides about a network before it knows the picture: the kernel of each layer, which results are made
//! complete, and how long they are needed.
//!
//! Most results are stored as their convolution wrote them; the next layer normalizes them as it reads. A result is
//! *complete* when it has been normalized, and summed, in place. Those are the results that a later layer adds, the sums
//! themselves, and, where there are none, the first result of the coarsest level. From one complete result to the next,
//! results form a chain in which each can be recomputed from the previous one.

use impasto_common::network::{Network, Padding, Resampling};
use impasto_kernels::winograd::{Kind, NINE_BORDER};

/// The number of summands into which [`Kind::NineOut`] splits a channel.
const SUMMANDS: usize = 9;

/// The rows and columns that its result has beyond those of the picture.
const SUMMAND_REACH: usize = 6;

/// How a layer's convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelChoice {
    /// A specialized kernel of stride 1.
    Winograd(Kind),
    /// Any kernel, padding and resampling that is not transposed.
    Direct,
    /// A transposed convolution, computed as a plain convolution to more channels.
    Transposed,
}

/// The schedule of a layer and its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerSchedule {
    pub(super) kernel: KernelChoice,
    /// Whether the result is made complete.
    pub(super) complete: bool,
    /// How many times the result is halved relative to the picture.
    pub(super) level: usize,
    /// The layer whose result is added.
    pub(super) added: Option<usize>,
    /// The last layer that adds this result.
    pub(super) last_added_by: Option<usize>,
    /// Channels of what is stored, and the columns that are stored on both sides.
    pub(super) channels: usize,
    pub(super) border: usize,
    /// Whether the height and width of the result are those of the layer before.
    pub(super) keeps_size: bool,
}

impl LayerSchedule {
    /// Whether the kernel writes its result where it is stored, without a buffer of its own.
    pub(super) fn is_specialized(&self) -> bool {
        match self.kernel {
            KernelChoice::Winograd(_) => true,
            KernelChoice::Direct => self.border == 0,
            KernelChoice::Transposed => false,
        }
    }

    /// Stored rows and columns of a painting beyond its size.
    pub(super) fn reach(&self) -> usize {
        if self.kernel == KernelChoice::Winograd(Kind::NineOut) { SUMMAND_REACH } else { 0 }
    }

    /// Whether a layer after `layer` adds this result.
    pub(super) fn is_added_behind(&self, layer: usize) -> bool {
        self.last_added_by.is_some_and(|last| last > layer)
    }
}

/// The schedule of a network's layers.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) layers: Vec<LayerSchedule>,
    /// Columns that are stored on both sides of the picture.
    pub(super) picture_border: usize,
    /// The coarsest level.
    pub(super) coarsest: usize,
}

impl Schedule {
    /// The schedule of a valid network, see [`Network::validate`].
    pub(super) fn new(network: &Network) -> Self {
        let complete = complete(network);
        let levels: Vec<_> = network.levels().into_iter().map(|level| level.max(0) as usize).collect();
        let kernels: Vec<_> = (0..network.layers.len()).map(|index| choose(network, index, &complete)).collect();
        let border = |kernel: Option<&KernelChoice>| match kernel {
            Some(KernelChoice::Winograd(Kind::NineIn | Kind::NineOut)) => NINE_BORDER,
            _ => 0,
        };
        let layer = |index: usize| {
            let convolution = &network.layers[index].convolution;
            let summands = if kernels[index] == KernelChoice::Winograd(Kind::NineOut) { SUMMANDS } else { 1 };
            LayerSchedule {
                kernel: kernels[index],
                complete: complete[index],
                level: levels[index],
                added: network.added(index),
                last_added_by: (0..network.layers.len()).rev().find(|&later| network.added(later) == Some(index)),
                channels: summands * convolution.outputs,
                border: border(kernels.get(index + 1)),
                keeps_size: index > 0 && convolution.resampling == Resampling::None,
            }
        };
        Self {
            layers: (0..kernels.len()).map(layer).collect(),
            picture_border: border(kernels.first()),
            coarsest: levels.into_iter().max().unwrap_or(0),
        }
    }

    /// The last layer, which makes the painting.
    pub(super) fn last(&self) -> usize {
        self.layers.len() - 1
    }

    /// The layers after the last complete result.
    pub(super) fn last_chain(&self) -> usize {
        self.layers.iter().rposition(|layer| layer.complete).map_or(0, |index| index + 1)
    }
}

/// Which results are made complete.
fn complete(network: &Network) -> Vec<bool> {
    let mut complete = vec![false; network.layers.len()];
    for (index, layer) in network.layers.iter().enumerate() {
        if let Some(added) = network.added(index) {
            complete[added] = true;
        }
        complete[index] |= layer.residual.is_some();
    }
    let levels = network.levels();
    let coarsest = levels.iter().copied().max().unwrap_or(0);
    if !complete.contains(&true) && coarsest > 0 {
        let first = levels.iter().position(|&level| level == coarsest);
        if let Some(index) = first {
            complete[index] = true;
        }
    }
    complete
}

/// The fastest kernel that computes a layer.
///
/// Those for 9x9 read columns that are stored around their input, which a complete result does not have.
fn choose(network: &Network, index: usize, complete: &[bool]) -> KernelChoice {
    let convolution = &network.layers[index].convolution;
    let is_last = index + 1 == network.layers.len();
    match (convolution.resampling, convolution.kernel, convolution.padding) {
        (Resampling::Transposed { .. }, ..) => KernelChoice::Transposed,
        (Resampling::None, 3, Padding::Reflect(1)) => KernelChoice::Winograd(Kind::Three { upsample: 1 }),
        (Resampling::Nearest(2), 3, Padding::Reflect(1)) => KernelChoice::Winograd(Kind::Three { upsample: 2 }),
        (Resampling::None, 9, Padding::Reflect(NINE_BORDER)) if index == 0 => KernelChoice::Winograd(Kind::NineIn),
        (Resampling::None, 9, Padding::Reflect(NINE_BORDER)) if is_last && !complete[index - 1] => {
            KernelChoice::Winograd(Kind::NineOut)
        }
        _ => KernelChoice::Direct,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::StyleNetConfig;

    #[test]
    fn the_trainers_networks_get_specialized_kernels_and_complete_their_blocks() {
        let schedule = Schedule::new(&StyleNetConfig { channels: 3, blocks: 2 }.network());
        let three = |upsample| KernelChoice::Winograd(Kind::Three { upsample });
        let kernels: Vec<_> = schedule.layers.iter().map(|layer| layer.kernel).collect();
        let (first, last) = (KernelChoice::Winograd(Kind::NineIn), KernelChoice::Winograd(Kind::NineOut));
        let half = KernelChoice::Direct;
        let same = three(1);
        assert_eq!(kernels, [first, half, half, same, same, same, same, three(2), three(2), last]);
        let complete: Vec<_> = (0..10).filter(|&index| schedule.layers[index].complete).collect();
        assert_eq!((complete, schedule.last_chain()), (vec![2, 4, 6], 7));
        let borders: Vec<_> = schedule.layers.iter().map(|layer| layer.border).collect();
        assert_eq!((schedule.picture_border, borders), (4, vec![0, 0, 0, 0, 0, 0, 0, 0, 4, 0]));
    }

    #[test]
    fn without_blocks_the_coarsest_result_is_complete() {
        let schedule = Schedule::new(&StyleNetConfig { channels: 3, blocks: 0 }.network());
        assert_eq!(schedule.last_chain(), 3);
    }
}
