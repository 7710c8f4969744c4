//! Blending the network's painting with the photo: colours kept, strength.
//!
//! Levels are in `[0, 255]`: a line of red, then one of green, then one of blue.

/// The weights of red, green and blue in luma (ITU-R BT.601), as in YIQ and in JPEG's `YCbCr`.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Mixes `photo` into `painting` pixel by pixel. A `strength` of 1 leaves the painting, 0 gives the photo.
pub(crate) fn mix(painting: &mut [f32], photo: &[f32], strength: f32) {
    for (painted, &original) in painting.iter_mut().zip(photo) {
        // The painting is clamped first, as it would be without blending.
        *painted = original + strength * (painted.clamp(0.0, 255.0) - original);
    }
}

/// Gives `painting` the colours of `photo`: the painting's luma, the photo's chroma.
///
/// This is the luminance-only transfer of Gatys et al. (2016), "Preserving Color in Neural Artistic Style Transfer",
/// section 4, with two differences. The network's input is the coloured photo. And a colour that would be out of the RGB
/// gamut at its new luma is desaturated, which keeps hue and luma; clipping would change all three.
pub(crate) fn keep_colors(painting: &mut [f32], photo: &[f32]) {
    let pixels = painting.len() / 3;
    let (red, rest) = painting.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    for i in 0..pixels {
        let original = [photo[i], photo[pixels + i], photo[2 * pixels + i]];
        [red[i], green[i], blue[i]] = recolor([red[i], green[i], blue[i]], original);
    }
}

/// The luma of `painted` with the chroma of `original`.
fn recolor(painted: [f32; 3], original: [f32; 3]) -> [f32; 3] {
    let target = luma(painted.map(|level| level.clamp(0.0, 255.0)));
    let chroma = original.map(|level| level - luma(original));
    let saturation = chroma.into_iter().fold(1f32, |saturation, chroma| {
        let room = if chroma > 0.0 { 255.0 - target } else { target };
        // The headroom is never negative. Where the chroma is tiny, the quotient is large or NaN, and `min` ignores it.
        saturation.min(room / chroma.abs())
    });
    chroma.map(|chroma| target + saturation * chroma)
}

fn luma(levels: [f32; 3]) -> f32 {
    LUMA[0] * levels[0] + LUMA[1] * levels[1] + LUMA[2] * levels[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_goes_from_the_photo_to_the_painting() {
        for (strength, expected) in [(0.0, [100.0f32, 200.0]), (0.25, [75.0, 213.75]), (1.0, [0.0, 255.0])] {
            let mut painting = [-50.0, 400.0f32];
            mix(&mut painting, &[100.0, 200.0], strength);
            assert_eq!(painting.map(f32::to_bits), expected.map(f32::to_bits));
        }
    }

    #[test]
    fn kept_colours_have_the_paintings_luma_and_the_photos_chroma() {
        let result = recolor([100.0, 110.0, 120.0], [90.0, 60.0, 30.0]);
        assert!((luma(result) - luma([100.0, 110.0, 120.0])).abs() < 1e-3);
        // Equal differences between the channels are equal Cb and Cr: both are multiples of `blue - luma`, `red - luma`.
        assert!((result[0] - result[1] - 30.0).abs() < 1e-3);
        assert!((result[1] - result[2] - 30.0).abs() < 1e-3);
    }

    #[test]
    fn a_colour_that_does_not_fit_loses_saturation_but_neither_hue_nor_luma() {
        let result = recolor([250.0; 3], [200.0, 100.0, 50.0]);
        assert!(result.iter().all(|level| (0.0..=255.001).contains(level)), "{result:?}");
        assert!((luma(result) - 250.0).abs() < 1e-2);
        let ratio = (result[0] - result[1]) / (result[1] - result[2]);
        assert!((ratio - 2.0).abs() < 1e-2, "{result:?}");
    }

    #[test]
    fn grey_black_and_white_stay_grey() {
        for target in [0.0, 128.0, 255.0] {
            for original in [0.0, 77.0, 255.0] {
                let result = recolor([target; 3], [original; 3]);
                assert!(result.iter().all(|level| (level - target).abs() < 1e-3), "{target} {original} {result:?}");
            }
        }
    }

    #[test]
    fn lines_are_recoloured_pixel_by_pixel() {
        let pixels = 70;
        let photo: Vec<f32> = (0..3 * pixels).map(|i| (i * 7 % 251) as f32).collect();
        let mut painting: Vec<f32> = (0..3 * pixels).map(|i| (i * 5 % 241) as f32).collect();
        let expected = painting.clone();
        keep_colors(&mut painting, &photo);
        for i in 0..pixels {
            let at = |lines: &[f32]| [lines[i], lines[pixels + i], lines[2 * pixels + i]];
            assert_eq!(at(&painting).map(f32::to_bits), recolor(at(&expected), at(&photo)).map(f32::to_bits));
        }
    }
}
