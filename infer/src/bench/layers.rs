//! The number of operations of a network, and random weights for it.

use impasto_common::Result;
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::network::{Network, StyleNetConfig};
use impasto_common::weights::{Array, Tensors};

/// Operations of the plain network on a picture of `(height, width)` pixels, two for each multiply-add.
///
/// See [`Network::operations`]. The last layers are counted at their real size, which is rounded up to multiples of 4. A
/// picture too small for the network counts as the smallest that the network accepts.
#[must_use]
pub fn paint_operations(config: &StyleNetConfig, (height, width): (usize, usize)) -> f64 {
    let size = (height.max(Network::MIN_SIZE), width.max(Network::MIN_SIZE));
    // Pictures too small for the trainer's networks were enlarged above.
    config.network().operations(size).unwrap_or(0.0)
}

/// An untrained network of these sizes: weights as PyTorch initialises them, the same at every call.
pub(super) fn random_model(config: StyleNetConfig) -> Result<StyleModel> {
    let mut random = Random(0);
    let mut tensors = Tensors::new();
    for layer in config.network().layers {
        let fan_in = layer.convolution.inputs * layer.convolution.kernel.pow(2);
        let bound = 1.0 / (fan_in as f32).sqrt();
        // The convolution's weight comes first, then its bias, then the normalization's scale and shift.
        for ((name, shape), start) in layer.tensors().into_iter().zip([None, Some(0.1), Some(1.0), Some(0.1)]) {
            let count = shape.iter().product();
            let values = (0..count).map(|_| start.unwrap_or_else(|| bound * random.signed())).collect();
            tensors.insert(name, Array::new(shape, values)?);
        }
    }
    Ok(StyleModel { card: ModelCard::new("random", config), tensors })
}

/// `SplitMix64` (Steele et al., 2014).
struct Random(u64);

impl Random {
    /// A number in `[-1, 1)`.
    fn signed(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use impasto_common::network::Preset;

    use super::*;

    fn operations(config: StyleNetConfig, size: (usize, usize)) -> u64 {
        paint_operations(&config, size) as u64
    }

    #[test]
    fn operations_of_one_channel_and_no_block_equal_a_count_by_hand() {
        let config = StyleNetConfig { channels: 1, blocks: 0 };
        // conv1, conv2, conv3, deconv1, deconv2, deconv3: inputs x outputs x taps x height x width.
        let by_hand = [
            3 * 81 * (8 * 12),
            2 * 9 * (4 * 6),
            (2 * 4) * 9 * (2 * 3),
            (4 * 2) * 9 * (4 * 6),
            2 * 9 * (8 * 12),
            3 * 81 * (8 * 12),
        ];
        assert_eq!(operations(config, (8, 12)), 2 * by_hand.iter().sum::<u64>());
    }

    #[test]
    fn an_odd_size_is_rounded_up_when_halved_and_doubled() {
        let config = StyleNetConfig { channels: 1, blocks: 1 };
        let by_hand = [
            3 * 81 * (5 * 7),
            2 * 9 * (3 * 4),
            (2 * 4) * 9 * (2 * 2),
            2 * (4 * 4) * 9 * (2 * 2),
            (4 * 2) * 9 * (4 * 4),
            2 * 9 * (8 * 8),
            3 * 81 * (8 * 8),
        ];
        assert_eq!(operations(config, (5, 7)), 2 * by_hand.iter().sum::<u64>());
        // Smaller pictures are extended before they are painted.
        assert_eq!(operations(config, (1, 7)), operations(config, (5, 7)));
    }

    #[test]
    fn made_up_weights_fit_the_network_of_every_preset() {
        for preset in Preset::ALL {
            let model = random_model(preset.into()).unwrap();
            let network = model.card.network.network();
            network.check(&model.tensors).unwrap();
            // No tensors that the network does not read.
            assert_eq!(model.tensors.len(), network.tensors().len());
        }
    }
}
