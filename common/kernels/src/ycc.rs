//! RGB to YCbCr and back, a line at a time, in integer arithmetic.
//!
//! Interleaving of colours has its own loops, and all other loops handle one colour at a time, so that the compiler
//! vectorises both.
//!
//! Results are rounded to the nearest level of the exact product. swscale's fast modes are off by a level or two; its exact
//! modes take ten times as long. Chroma is filtered, not repeated or skipped: subsampled chroma is sited as in MPEG-2 and
//! later standards: horizontally at the left one of two pixels, vertically between two lines.

use super::multiversion::multiversion;

/// Fractional bits of a coefficient.
const SHIFT: u32 = 16;
const HALF: i32 = 1 << (SHIFT - 1);

/// Scale of chroma lines and sums relative to a level: two lines with weights 3 and 1, two columns with weights 1 and 1.
const CHROMA_SCALE: i32 = 8;

/// The coefficients of a colour matrix and range, in units of `1 / 2^16`.
#[derive(Debug, Clone, Copy)]
pub struct Coefficients {
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
    /// For a matrix with these weights of red and blue in luma, and for levels of luma from 0 to 255 with `full_range`, else from
    /// 16 to 235.
    #[must_use]
    pub fn new((red, blue): (f32, f32), full_range: bool) -> Self {
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
    /// A line of RGB pixels from a line of luma and lines of chroma, the latter eightfold and as long.
    ///
    /// `lines` is room for a line of each colour.
    pub fn to_rgb(coefficients: &Coefficients, luma: &[u8], chroma: [&[i16]; 2], rgb: &mut [u8], lines: &mut [Vec<u8>; 3]) {
        let Coefficients { black, luma: scale, from_chroma: [red_cr, green_cb, green_cr, blue_cb], .. } = *coefficients;
        let [cb, cr] = chroma;
        let level = |sum: i32| (sum >> SHIFT).clamp(0, 255) as u8;
        let width = luma.len();
        for line in lines.iter_mut() {
            line.resize(width, 0);
        }
        let [red, green, blue] = lines;
        let (cb, cr) = (&cb[..width], &cr[..width]);
        let (red, green, blue) = (&mut red[..width], &mut green[..width], &mut blue[..width]);
        for x in 0..width {
            let y = (i32::from(luma[x]) - black) * scale + HALF;
            let (cb, cr) = (i32::from(cb[x]) - 128 * CHROMA_SCALE, i32::from(cr[x]) - 128 * CHROMA_SCALE);
            red[x] = level(y + red_cr * cr);
            green[x] = level(y + green_cb * cb + green_cr * cr);
            blue[x] = level(y + blue_cb * cb);
        }
        for (x, pixel) in rgb.as_chunks_mut::<3>().0[..width].iter_mut().enumerate() {
            *pixel = [red[x], green[x], blue[x]];
        }
    }
}

multiversion! {
    /// A chroma line of full width, eightfold, between two lines of half the width: three parts `near` and one `far`.
    pub fn double_chroma(near: &[u8], far: &[u8], line: &mut [i16], halves: &mut Vec<i16>) {
        halves.clear();
        halves.extend(near.iter().zip(far).map(|(&near, &far)| 3 * i16::from(near) + i16::from(far)));
        // The edge sample is repeated beyond the edge.
        halves.extend(halves.last().copied());
        let (pairs, odd) = line.as_chunks_mut::<2>();
        for (pair, ends) in pairs.iter_mut().zip(halves.windows(2)) {
            *pair = [2 * ends[0], ends[0] + ends[1]];
        }
        if let [last] = odd {
            *last = 2 * halves[pairs.len()];
        }
    }
}

multiversion! {
    /// A line of luma from a line of RGB pixels.
    pub fn to_luma(coefficients: &Coefficients, rgb: &[u8], luma: &mut [u8]) {
        let [red, green, blue] = coefficients.to_luma;
        let offset = (coefficients.black << SHIFT) + HALF;
        let level = |r: u8, g: u8, b: u8| {
            ((red * i32::from(r) + green * i32::from(g) + blue * i32::from(b) + offset) >> SHIFT) as u8
        };
        let (blocks, rest) = luma.as_chunks_mut::<64>();
        let (pixels, ends) = rgb.as_chunks::<3>().0.split_at(64 * blocks.len());
        for (luma, pixels) in blocks.iter_mut().zip(pixels.as_chunks::<64>().0) {
            let mut colours = [[0; 64]; 3];
            for (x, pixel) in pixels.iter().enumerate() {
                (colours[0][x], colours[1][x], colours[2][x]) = (pixel[0], pixel[1], pixel[2]);
            }
            for (x, luma) in luma.iter_mut().enumerate() {
                *luma = level(colours[0][x], colours[1][x], colours[2][x]);
            }
        }
        for (luma, &[r, g, b]) in rest.iter_mut().zip(ends) {
            *luma = level(r, g, b);
        }
    }
}

multiversion! {
    /// Lines of chroma of half the width from two lines of RGB pixels: columns of weights 1, 2 and 1 about the left one of
    /// two pixels.
    ///
    /// `sums` is room for a line of each colour.
    pub fn to_halved_chroma(coefficients: &Coefficients, rgb: [&[u8]; 2], chroma: [&mut [u8]; 2], sums: &mut [Vec<i16>; 3]) {
        let [top, bottom] = rgb.map(|line| line.as_chunks::<3>().0);
        let width = top.len();
        // One column before the first and one after the last, so that the loops need no bounds cases.
        for sums in sums.iter_mut() {
            sums.resize(width + 2, 0);
        }
        let [red, green, blue] = sums.each_mut().map(|sums| &mut sums[1..=width]);
        for (x, (a, b)) in top.iter().zip(bottom).enumerate() {
            let sum = |i: usize| i16::from(a[i]) + i16::from(b[i]);
            (red[x], green[x], blue[x]) = (sum(0), sum(1), sum(2));
        }
        for sums in &mut *sums {
            (sums[0], sums[width + 1]) = (sums[1], sums[width]);
        }
        let [red, green, blue] = sums.each_ref().map(Vec::as_slice);
        let [cb, cr] = chroma;
        let count = width.div_ceil(2);
        let (cb, cr) = (&mut cb[..count], &mut cr[..count]);
        let (red, green, blue) = (&red[..=2 * count], &green[..=2 * count], &blue[..=2 * count]);
        let level = |[of_red, of_green, of_blue]: [i32; 3], [r, g, b]: [i32; 3]| {
            ((of_red * r + of_green * g + of_blue * b + (128 << SHIFT) + HALF) >> SHIFT).clamp(0, 255) as u8
        };
        for i in 0..count {
            let sum = |sums: &[i16]| i32::from(sums[2 * i] + 2 * sums[2 * i + 1] + sums[2 * i + 2]);
            let sums = [sum(red), sum(green), sum(blue)];
            cb[i] = level(coefficients.to_chroma[0], sums);
            cr[i] = level(coefficients.to_chroma[1], sums);
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
            to_halved_chroma(&limited, [&line, &line], [&mut cb, &mut cr], &mut Default::default());
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
                to_halved_chroma(&coefficients, [&line, &line], [&mut cb, &mut cr], &mut Default::default());
                let mut chroma = [[0; 2]; 2];
                for (half, line) in [cb, cr].iter().zip(&mut chroma) {
                    double_chroma(half, half, line, &mut Vec::new());
                }
                let mut rgb = [0; 6];
                to_rgb(&coefficients, &luma, [&chroma[0], &chroma[1]], &mut rgb, &mut Default::default());
                let back = &rgb[3..];
                let off = back.iter().zip(pixel).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= 2, "{pixel:?} became {back:?}");
            }
        }
    }

    #[test]
    fn lines_of_any_length_follow_the_formulae() {
        let coefficients = Coefficients::new(BT709, false);
        for width in [1usize, 2, 3, 63, 64, 65, 130, 301] {
            let top: Vec<u8> = (0..3 * width).map(|i| (i * 37 % 256) as u8).collect();
            let bottom: Vec<u8> = top.iter().rev().copied().collect();
            let half = width.div_ceil(2);
            let (mut luma, mut cb, mut cr) = (vec![0; width], vec![0; half], vec![0; half]);
            to_luma(&coefficients, &top, &mut luma);
            // A buffer with the leftovers of another line.
            let mut room = [vec![9; 500], vec![9; 500], vec![9; 500]];
            to_halved_chroma(&coefficients, [&top, &bottom], [&mut cb, &mut cr], &mut room);
            let rounded = |weights: [i32; 3], rgb: [i32; 3], level: i32| {
                ((0..3).map(|i| weights[i] * rgb[i]).sum::<i32>() + (level << SHIFT) + HALF) >> SHIFT
            };
            for x in 0..width {
                let pixel = [0, 1, 2].map(|i| i32::from(top[3 * x + i]));
                assert_eq!(i32::from(luma[x]), rounded(coefficients.to_luma, pixel, 16), "{width}: luma {x}");
            }
            for x in 0..half {
                let columns = [(2 * x).saturating_sub(1), 2 * x, 2 * x, (2 * x + 1).min(width - 1)];
                let level = |x: usize, i: usize| i32::from(top[3 * x + i]) + i32::from(bottom[3 * x + i]);
                let sums = [0, 1, 2].map(|i| columns.iter().map(|&x| level(x, i)).sum());
                let expected = coefficients.to_chroma.map(|weights| rounded(weights, sums, 128).clamp(0, 255));
                assert_eq!([cb[x], cr[x]].map(i32::from), expected, "{width}: chroma {x}");
            }
            let mut line = vec![0; width];
            double_chroma(&cb, &cr, &mut line, &mut Vec::new());
            let halves: Vec<_> = cb.iter().zip(&cr).map(|(&near, &far)| 3 * i16::from(near) + i16::from(far)).collect();
            for (x, &value) in line.iter().enumerate() {
                assert_eq!(value, halves[x / 2] + halves[x.div_ceil(2).min(half - 1)], "{width}: doubled {x}");
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
            to_halved_chroma(&coefficients, [&levels, &other], [&mut cb, &mut cr], &mut Default::default());
            let mut chroma = [vec![0; 301], vec![0; 301]];
            double_chroma(&cb, &cr, &mut chroma[0], &mut Vec::new());
            double_chroma(&cr, &cb, &mut chroma[1], &mut Vec::new());
            let mut rgb = vec![0; 3 * 301];
            to_rgb(&coefficients, &luma, [&chroma[0], &chroma[1]], &mut rgb, &mut Default::default());
            (luma, cb, cr, rgb)
        });
    }
}
