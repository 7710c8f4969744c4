//! RGB to YCbCr and back, a line at a time, in whole numbers.
//!
//! The nearest level of the exact product: swscale's fast ways are a level or two off, its exact ones take ten times as
//! long. Chroma is filtered, not repeated or skipped: samples of halved chroma lie where MPEG-2 and all after it put them,
//! beside the left one of two pixels and between two lines.

use super::multiversion::multiversion;

/// Bits behind the point of a coefficient.
const SHIFT: u32 = 16;
const HALF: i32 = 1 << (SHIFT - 1);

/// Chroma lines and sums are this many times a level: two lines of weights 3 and 1, two columns of 1 and 1.
const CHROMA_SCALE: i32 = 8;

/// What a matrix and a range make of levels, in units of `1 / 2^16`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coefficients {
    /// The level of black.
    black: i32,
    /// RGB per level of luma.
    luma: i32,
    /// Per level of chroma, eightfold: red of Cr, green of Cb and of Cr, blue of Cb.
    from_chroma: [i32; 4],
    /// Luma of red, green and blue.
    to_luma: [i32; 3],
    /// Cb and Cr of red, green and blue, each eightfold.
    to_chroma: [[i32; 3]; 2],
}

impl Coefficients {
    /// The weights of red and blue in luma, and whether the levels take the whole range.
    pub(crate) fn new((red, blue): (f32, f32), full_range: bool) -> Self {
        let (red, blue) = (f64::from(red), f64::from(blue));
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = if full_range { (0, 255.0, 255.0) } else { (16, 219.0, 224.0) };
        let fixed = |value: f64| (value * f64::from(1 << SHIFT)).round() as i32;
        let per_chroma = |value: f64| fixed(value * 255.0 / chroma / f64::from(CHROMA_SCALE));
        let of = |weights: [f64; 3], scale: f64| weights.map(|weight| fixed(weight * scale / 255.0));
        let eighth = chroma / f64::from(CHROMA_SCALE);
        let (to_blue, to_red) = (2.0 * (1.0 - blue), 2.0 * (1.0 - red));
        Self {
            black,
            luma: fixed(255.0 / luma),
            from_chroma: [
                per_chroma(to_red),
                per_chroma(-to_blue * blue / green),
                per_chroma(-to_red * red / green),
                per_chroma(to_blue),
            ],
            to_luma: of([red, green, blue], luma),
            to_chroma: [
                of([-red / to_blue, -green / to_blue, 0.5], eighth),
                of([0.5, -green / to_red, -blue / to_red], eighth),
            ],
        }
    }
}

multiversion! {
    /// Lines of red, green and blue from a line of luma and lines of chroma, the latter eightfold and as long.
    pub(crate) fn to_rgb(coefficients: &Coefficients, luma: &[u8], chroma: [&[i32]; 2], rgb: [&mut [u8]; 3]) {
        let Coefficients { black, luma: scale, from_chroma: [red_cr, green_cb, green_cr, blue_cb], .. } = *coefficients;
        let [cb, cr] = chroma;
        let [red, green, blue] = rgb;
        let level = |sum: i32| (sum >> SHIFT).clamp(0, 255) as u8;
        let width = luma.len();
        let (cb, cr) = (&cb[..width], &cr[..width]);
        let (red, green, blue) = (&mut red[..width], &mut green[..width], &mut blue[..width]);
        for x in 0..width {
            let y = (i32::from(luma[x]) - black) * scale + HALF;
            let (cb, cr) = (cb[x] - 128 * CHROMA_SCALE, cr[x] - 128 * CHROMA_SCALE);
            red[x] = level(y + red_cr * cr);
            green[x] = level(y + green_cb * cb + green_cr * cr);
            blue[x] = level(y + blue_cb * cb);
        }
    }
}

multiversion! {
    /// A chroma line of full width, eightfold, between two lines of half the width: three parts `near` and one `far`.
    pub(crate) fn double_chroma(near: &[u8], far: &[u8], line: &mut [i32], halves: &mut Vec<i32>) {
        halves.clear();
        halves.extend(near.iter().zip(far).map(|(&near, &far)| 3 * i32::from(near) + i32::from(far)));
        let last = halves.len() - 1;
        for (i, pair) in line.chunks_mut(2).enumerate() {
            pair[0] = 2 * halves[i];
            if let Some(odd) = pair.get_mut(1) {
                *odd = halves[i] + halves[(i + 1).min(last)];
            }
        }
    }
}

multiversion! {
    /// A line of luma from a line of RGB pixels.
    pub(crate) fn to_luma(coefficients: &Coefficients, rgb: &[u8], luma: &mut [u8]) {
        let [red, green, blue] = coefficients.to_luma;
        let offset = (coefficients.black << SHIFT) + HALF;
        for (luma, pixel) in luma.iter_mut().zip(rgb.as_chunks::<3>().0) {
            let [r, g, b] = pixel.map(i32::from);
            *luma = ((red * r + green * g + blue * b + offset) >> SHIFT) as u8;
        }
    }
}

multiversion! {
    /// Lines of chroma of half the width from two lines of RGB pixels: columns of weights 1, 2 and 1 about the left one of
    /// two pixels.
    pub(crate) fn to_halved_chroma(coefficients: &Coefficients, rgb: [&[u8]; 2], chroma: [&mut [u8]; 2], sums: &mut Vec<[i32; 3]>) {
        let [top, bottom] = rgb.map(|line| line.as_chunks::<3>().0);
        sums.clear();
        sums.extend(top.iter().zip(bottom).map(|(a, b)| [0, 1, 2].map(|i| i32::from(a[i]) + i32::from(b[i]))));
        let [cb, cr] = chroma;
        let level = |[red, green, blue]: [i32; 3], [r, g, b]: [i32; 3]| {
            ((red * r + green * g + blue * b + (128 << SHIFT) + HALF) >> SHIFT).clamp(0, 255) as u8
        };
        let last = sums.len() - 1;
        for (i, (cb, cr)) in cb.iter_mut().zip(cr).enumerate() {
            let x = 2 * i;
            let (left, here, right) = (sums[x.saturating_sub(1)], sums[x], sums[(x + 1).min(last)]);
            let sum = [0, 1, 2].map(|i| left[i] + 2 * here[i] + right[i]);
            *cb = level(coefficients.to_chroma[0], sum);
            *cr = level(coefficients.to_chroma[1], sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::multiversion::tests::assert_levels_agree;
    use super::*;

    const BT709: (f32, f32) = (0.2126, 0.0722);

    #[test]
    fn grey_and_primaries_have_their_levels() {
        let limited = Coefficients::new(BT709, false);
        let mut luma = [0; 6];
        let line = [[0; 3], [255; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128; 3]].concat();
        to_luma(&limited, &line, &mut luma);
        // ITU-R BT.709, table 4: 16 + 219 * weight.
        assert_eq!(luma, [16, 235, 63, 173, 32, 126]);
        to_luma(&Coefficients::new(BT709, true), &line, &mut luma);
        assert_eq!(luma, [0, 255, 54, 182, 18, 128]);
        let (mut cb, mut cr) = ([0], [0]);
        for (pixel, expected) in [([255, 0, 0], (102, 240)), ([0, 0, 255], (240, 118)), ([77; 3], (128, 128))] {
            let line = [pixel, pixel].concat();
            to_halved_chroma(&limited, [&line, &line], [&mut cb, &mut cr], &mut Vec::new());
            assert_eq!((cb[0], cr[0]), expected, "{pixel:?}");
        }
    }

    #[test]
    fn colours_come_back_within_a_level() {
        for full_range in [false, true] {
            let coefficients = Coefficients::new(BT709, full_range);
            for pixel in [[0, 0, 0], [255, 255, 255], [200, 100, 50], [1, 2, 3], [90, 120, 250], [30, 200, 20]] {
                let line = [pixel, pixel].concat();
                let (mut luma, mut cb, mut cr) = ([0; 2], [0], [0]);
                to_luma(&coefficients, &line, &mut luma);
                to_halved_chroma(&coefficients, [&line, &line], [&mut cb, &mut cr], &mut Vec::new());
                let mut chroma = [[0; 2]; 2];
                for (half, line) in [cb, cr].iter().zip(&mut chroma) {
                    double_chroma(half, half, line, &mut Vec::new());
                }
                let (mut red, mut green, mut blue) = ([0; 2], [0; 2], [0; 2]);
                to_rgb(&coefficients, &luma, [&chroma[0], &chroma[1]], [&mut red, &mut green, &mut blue]);
                let back = [red[1], green[1], blue[1]];
                let off = back.iter().zip(pixel).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= 2, "{pixel:?} became {back:?}");
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let coefficients = Coefficients::new(BT709, false);
        let levels: Vec<u8> = (0..3 * 301_u32).map(|i| (i * 37 % 256) as u8).collect();
        let other: Vec<u8> = levels.iter().rev().copied().collect();
        assert_levels_agree(|| {
            let (mut luma, mut cb, mut cr) = (vec![0; 301], vec![0; 151], vec![0; 151]);
            to_luma(&coefficients, &levels, &mut luma);
            to_halved_chroma(&coefficients, [&levels, &other], [&mut cb, &mut cr], &mut Vec::new());
            let mut chroma = [vec![0; 301], vec![0; 301]];
            double_chroma(&cb, &cr, &mut chroma[0], &mut Vec::new());
            double_chroma(&cr, &cb, &mut chroma[1], &mut Vec::new());
            let mut rgb = [vec![0; 301], vec![0; 301], vec![0; 301]];
            let [red, green, blue] = &mut rgb;
            to_rgb(&coefficients, &luma, [&chroma[0], &chroma[1]], [red, green, blue]);
            (luma, cb, cr, rgb)
        });
    }
}
