//! The margin: how far a photo is continued beyond its borders while it is painted.
//!
//! A network paints a frame along the borders of a picture: its loss network pads with zeros and takes the edge of a crop for
//! the edge of the painting. With mirrored surroundings, most of the frame falls outside the photo and is cropped away.

use std::str::FromStr;

use impasto_common::model_file::ModelCard;
use impasto_common::network::Network;
use impasto_common::{Error, Result};

/// The margin of styles made by `trainer`, unless another is asked for: enough for the thin rim that was left in them.
const TRAINED: usize = 4;

/// The margin of [`PaintMargin::Auto`]. The frames of the networks that we measured are 15 to 30 pixels wide.
const AUTO: usize = 32;

/// How many pixels of mirrored surroundings a photo has on every side while it is painted. The painting is cropped again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaintMargin {
    /// As the style is meant to be painted: 4 pixels for styles made by `trainer`; none for others, which are painted
    /// exactly as by the programs that they come from. Default.
    #[default]
    OfStyle,
    /// 32 pixels, which hides most of the frame that a network paints.
    Auto,
    /// This many pixels, at most [`Self::MAX`].
    Pixels(usize),
}

impl PaintMargin {
    /// The largest margin, pixels.
    pub const MAX: usize = 256;

    /// The margin of the style with this card and network, pixels.
    ///
    /// It is a multiple of the network's [step](Network::step): strokes depend on the position of a pixel modulo the step,
    /// so that inside the picture a painting is nearly the same with any margin.
    pub(super) fn pixels(self, card: &ModelCard, network: &Network) -> usize {
        match self {
            Self::OfStyle if card.training.is_some() => TRAINED.next_multiple_of(network.step()),
            Self::OfStyle => 0,
            Self::Auto => AUTO.next_multiple_of(network.step()),
            Self::Pixels(pixels) => pixels,
        }
    }

    /// # Errors
    ///
    /// If the margin is too large, or not a multiple of the network's step.
    pub(super) fn validate(self, network: &Network) -> Result<()> {
        let (Self::Pixels(pixels), step) = (self, network.step()) else { return Ok(()) };
        if pixels > Self::MAX {
            return Err(Error::usage(format!("a margin of {pixels} pixels is more than {}", Self::MAX)));
        }
        if pixels % step != 0 {
            let (below, above) = (pixels / step * step, pixels.next_multiple_of(step));
            return Err(Error::usage(format!(
                "a margin of {pixels} pixels is not a multiple of {step}, the step of the network's strides"
            ))
            .with_hint(format!("take {below} or {above}")));
        }
        Ok(())
    }
}

impl FromStr for PaintMargin {
    type Err = String;

    /// `auto`, or a number of pixels.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let pixels = text.parse().ok().filter(|&pixels| pixels <= Self::MAX);
        pixels.map(Self::Pixels).ok_or_else(|| format!("expected `auto`, or a number of pixels up to {}", Self::MAX))
    }
}

#[cfg(test)]
mod tests {
    use impasto_common::network::StyleNetConfig;

    use super::*;

    #[test]
    fn only_styles_trained_here_have_a_margin_that_nobody_asked_for() {
        let (foreign, network) =
            (ModelCard::new("any", StyleNetConfig::default()), StyleNetConfig::default().network());
        let trained = ModelCard { training: Some(serde_json::Value::default()), ..foreign.clone() };
        for (margin, of_foreign, of_trained) in
            [(PaintMargin::OfStyle, 0, 4), (PaintMargin::Auto, 32, 32), (PaintMargin::Pixels(8), 8, 8)]
        {
            assert_eq!(margin.pixels(&foreign, &network), of_foreign, "{margin:?}");
            assert_eq!(margin.pixels(&trained, &network), of_trained, "{margin:?}");
        }
    }

    #[test]
    fn a_margin_that_would_move_the_strokes_is_refused_with_the_nearest_that_do_not() {
        let network = StyleNetConfig::default().network();
        let refused = |pixels| PaintMargin::Pixels(pixels).validate(&network).unwrap_err();
        assert_eq!(
            refused(10).to_string(),
            "a margin of 10 pixels is not a multiple of 4, the step of the network's strides"
        );
        assert_eq!((refused(10).hint(), refused(10).exit_code()), (Some("take 8 or 12"), 2));
        assert_eq!(refused(260).to_string(), "a margin of 260 pixels is more than 256");
        for margin in [PaintMargin::Pixels(0), PaintMargin::Pixels(256), PaintMargin::Auto, PaintMargin::OfStyle] {
            margin.validate(&network).unwrap();
        }
    }

    #[test]
    fn a_margin_is_a_number_or_auto() {
        assert_eq!(("auto".parse(), "0".parse()), (Ok(PaintMargin::Auto), Ok(PaintMargin::Pixels(0))));
        assert_eq!("256".parse(), Ok(PaintMargin::Pixels(256)));
        for text in ["", "-4", "257", "4px", "Auto", "1e1"] {
            assert!(text.parse::<PaintMargin>().is_err(), "{text}");
        }
    }
}
