//! Mixes two styles, one of which was trained from the other, weight by weight.
//!
//! Networks that share the beginning of their training can be mixed linearly. The mixture paints a style between theirs (Wang
//! et al., 2019, "Deep Network Interpolation for Continuous Imagery Effect Transition"). The mixture of a network and its
//! fine-tuned successor often keeps the strengths of both (Wortsman et al., 2022, "Robust Fine-Tuning of Zero-Shot Models").
//! For example, a style that was made steady for clips gets back the strength of its strokes. Networks that were trained
//! separately cannot be mixed: their channels mean different things.

use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::weights::Array;
use impasto_common::{Error, Result};

use crate::init::check_sizes;

/// The style at `amount` of the way from `from` to `to`: 0 is `from`, 1 is `to`, and values outside this range extrapolate.
///
/// The model card is that of `to`, without its objective, which was measured on another network.
///
/// # Errors
///
/// If the networks have different sizes, `amount` is not finite, or tensors are missing.
pub fn between(from: &StyleModel, to: &StyleModel, amount: f64) -> Result<StyleModel> {
    if !amount.is_finite() {
        return Err(Error::usage(format!("the amount must be a finite number, not {amount}")));
    }
    let (share, amount) = ((1.0 - amount) as f32, amount as f32);
    let mix = |(name, from, to): (&String, &Array, &Array)| {
        let values = from.values().iter().zip(to.values()).map(|(from, to)| from * share + to * amount).collect();
        Ok((name.clone(), Array::new(from.shape(), values)?))
    };
    let tensors = pairs(from, to)?.into_iter().map(mix).collect::<Result<_>>()?;
    Ok(StyleModel { card: ModelCard { objective: None, ..to.card.clone() }, tensors })
}

/// The distance between the weights of two networks: the norm of their difference divided by the geometric mean of their norms.
///
/// It is about the square root of 2 for networks that were trained separately, even in the same style; 0.1 to 0.5 for a network
/// that was trained from the other.
///
/// # Errors
///
/// Same as [`between`].
pub fn distance(from: &StyleModel, to: &StyleModel) -> Result<f64> {
    let square = |value: f32| f64::from(value).powi(2);
    let (mut difference, mut first, mut second) = (0.0, 0.0, 0.0);
    // Convolutions only: the scales of a normalisation are near 1 in every network, so they carry no information.
    for (_, a, b) in pairs(from, to)?.into_iter().filter(|(_, a, _)| a.shape().len() == 4) {
        for (a, b) in a.values().iter().zip(b.values()) {
            difference += square(a - b);
            first += square(*a);
            second += square(*b);
        }
    }
    Ok((difference / (first * second).sqrt().max(f64::MIN_POSITIVE)).sqrt())
}

/// The tensors of both by name.
fn pairs<'a>(from: &'a StyleModel, to: &'a StyleModel) -> Result<Vec<(&'a String, &'a Array, &'a Array)>> {
    check_sizes(to, &from.card.network)?;
    let pair = |(name, array): (&'a String, &'a Array)| {
        let other = to.tensors.get(name).filter(|other| other.shape() == array.shape());
        let other = other.ok_or_else(|| Error::new(format!("style `{}` has no tensor `{name}`", to.card.name)))?;
        Ok((name, array, other))
    };
    from.tensors.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use impasto_common::network::StyleNetConfig;

    use super::*;
    use crate::init;

    fn model(name: &str, seed: u64, blocks: usize) -> StyleModel {
        let config = StyleNetConfig { channels: 2, blocks };
        let parameters = init::random_parameters(&config, seed, &Device::Cpu).unwrap();
        let tensors = parameters.into_iter().map(|(name, value)| (name, impasto_nn::arrays::to_array(&value).unwrap()));
        let tensors = tensors.collect();
        StyleModel { card: ModelCard { steps: seed as usize, ..ModelCard::new(name, config) }, tensors }
    }

    fn weights(model: &StyleModel) -> Vec<f32> {
        model.tensors.values().flat_map(|array| array.values().to_vec()).collect()
    }

    #[test]
    fn amounts_0_and_1_give_the_two_styles_and_other_amounts_mix_their_weights() {
        let (from, to) = (model("from", 1, 1), model("to", 2, 1));
        let at = |amount: f64| between(&from, &to, amount).unwrap();
        assert_eq!(weights(&at(0.0)), weights(&from));
        assert_eq!(weights(&at(1.0)), weights(&to));
        for amount in [0.25, 0.5, 1.5] {
            for ((a, b), mixed) in weights(&from).iter().zip(weights(&to)).zip(weights(&at(amount))) {
                let expected = f64::from(*a) + amount * f64::from(b - a);
                assert!((f64::from(mixed) - expected).abs() < 1e-6, "{amount}: {mixed} is not {expected}");
            }
        }
        assert_eq!(at(0.5).card, to.card);
    }

    #[test]
    fn the_distance_shows_which_styles_were_trained_separately() {
        let (one, other) = (model("one", 1, 1), model("other", 2, 1));
        let apart = distance(&one, &other).unwrap();
        assert!((apart - 2f64.sqrt()).abs() < 0.2, "{apart}");
        let near = distance(&one, &between(&one, &other, 0.2).unwrap()).unwrap();
        assert!(near > 0.1 && near < 0.4, "{near}");
        assert!(distance(&one, &one).unwrap() < 1e-9);
    }

    #[test]
    fn networks_of_different_sizes_and_invalid_amounts_are_refused() {
        let (one, other) = (model("one", 1, 1), model("other", 1, 2));
        let error = between(&one, &other, 0.5).unwrap_err();
        assert_eq!(error.to_string(), "style `other` has 2 channels and 2 blocks, not 2 channels and 1 blocks");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(between(&one, &one, f64::NAN).unwrap_err().exit_code(), 2);
    }
}
