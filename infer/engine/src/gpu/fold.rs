//! Prepares weights for a GPU: every convolution becomes a small dense one, with results within the range of half precision.
//!
//! **Range.** The input of an instance normalization may be scaled by any `s > 0` per channel: with mean `m` and variance `v` of
//! `y`, `(s y - s m) / sqrt(s^2 v + s^2 e) = (y - m) / sqrt(v + e)`. So the result is the same if the epsilon `e` is multiplied
//! by `s^2`. Any constant may also be added to the input, because the mean removes it again. This is used twice:
//!
//! - The frame enters as `(level - mean) / 128`, where the mean is that of the frame's colour, rounded to a level. Every weight
//!   of the first layer multiplies a level: of the frame, of its mirrored padding, or the level of the network's zero. So the
//!   results equal those of the levels divided by 128, minus a constant for all pixels. Differences of 8-bit levels are then
//!   exact in f16 and in bf16, and small differences in a dark or bright frame are not lost to rounding. With `starry_night`
//!   on a photo dimmed to a tenth, f16 is 0.03 levels off on average; it is 0.18 if 128 is subtracted from every frame instead.
//! - Each channel's weights are divided by the sum of their magnitudes, rounded to a power of two, so the division is exact. A
//!   result is then at most twice as large as the largest input, and nothing overflows. Typical results, a few hundredths, are
//!   well above the magnitudes at which f16 loses precision.
//!
//! The last layer has no normalization: its sums are multiplied back in single precision.
//!
//! **Shape.** Tensor cores work on 8 or more channels at a time; with 3 channels they would mostly multiply zeros. So a 9x9
//! convolution of 3 channels becomes a 3x3 one of 27: copies of the picture shifted by multiples of 3 pixels, stacked as
//! channels. A 9x9 convolution to 3 channels becomes a 3x3 one to 27 summands, which are added at the same shifts. Upsampling
//! by 2 and convolving 3x3 becomes a 2x2 convolution of the input at its own size to four times the channels, where weights
//! that multiply the same pixel are added: 16 products per pixel instead of 36, and no upsampled picture.
//!
//! If the added weights were rounded separately, the four sums of a kernel would differ. On an even surface that difference is
//! the only variance, so it would be painted as a chequerboard. The weights are therefore rounded before they are added, to a
//! step so wide that no sum is rounded again. A transposed convolution also becomes one to four times the channels, but none
//! of its weights are added.

use super::lower::{LoweredLayer, PlainForm, lower};
use crate::convolution::TransposedTaps;
use crate::layer::in_order_of_colours;
use impasto_common::network::{COLOURS, Convolution, Network, OutputMap, Resampling, values};
use impasto_common::weights::Tensors;
use impasto_error::{Error, Result};
use impasto_kernels::steps::{CHANNELS, Channel, Filter, SHIFTED, UNIT, Weights};

/// Channels of a picture in the arena for `channels` channels, rounded up.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(CHANNELS)
}

/// All weights of a network, for number types with this many significant bits.
///
/// # Errors
///
/// If the description is invalid, the GPU's kernels do not support a layer, or a tensor is missing or has another shape
/// than described.
pub(crate) fn weights(network: &Network, tensors: &Tensors, digits: u32) -> Result<Weights> {
    network.validate()?;
    let layers =
        lower(network).map_err(|reason| Error::new(format!("a GPU cannot paint with this style: {reason}")))?;
    let read = Reader { network, tensors, digits };
    let last = layers.len() - 1;
    let filters = layers[..last].iter().enumerate().map(|(index, layer)| read.filter(index, layer));
    let mut filters = filters.collect::<Result<Vec<_>>>()?;
    let (filter, join) = read.last(last, &layers[last])?;
    filters.push(filter);
    Ok(Weights { filters, join, zero: std::array::from_fn(|colour| network.pixels.to_level(colour).1) })
}

/// A kernel `(outputs, inputs, side, side)` that is converted to `(outputs, kernel, kernel, inputs)`.
struct Kernel {
    weight: Vec<f32>,
    /// Significant bits of a weight.
    digits: u32,
    outputs: usize,
    inputs: usize,
    side: usize,
}

impl Kernel {
    fn at(&self, output: usize, input: usize, y: usize, x: usize) -> f32 {
        self.weight[((output * self.inputs + input) * self.side + y) * self.side + x]
    }

    /// The rounding step, a power of two, at which the sums that [`double`] makes of these weights are exact.
    fn step(&self, output: usize, input: usize) -> f32 {
        let mut largest = 0f32;
        for (a, b) in PHASES {
            let mut sums = [0.0; 4];
            for (y, x) in (0..self.side).flat_map(|y| (0..self.side).map(move |x| (y, x))) {
                sums[2 * met(a, y) + met(b, x)] += self.at(output, input, y, x);
            }
            largest = sums.iter().fold(largest, |largest, sum| largest.max(sum.abs()));
        }
        // A small margin, because rounded weights may have a larger sum.
        let exponent = if largest > 0.0 { (1.05 * largest).log2().floor() + 1.0 } else { 0.0 };
        (exponent - self.digits as f32).max(-120.0).exp2()
    }

    /// The inverse of the power of two nearest to the sum of an output's weight magnitudes.
    fn scale(&self, output: usize) -> f32 {
        let len = self.inputs * self.side * self.side;
        inverse_power(self.weight[output * len..][..len].iter().map(|x| x.abs()).sum())
    }

    fn sum(&self, output: usize, input: usize) -> f32 {
        let len = self.side * self.side;
        self.weight[(output * self.inputs + input) * len..][..len].iter().map(|&x| f64::from(x)).sum::<f64>() as f32
    }
}

/// Converts a kernel to another form; weights are multiplied by `scale` of their output.
fn fold(kernel: &Kernel, layer: &LoweredLayer, scale: &dyn Fn(usize) -> f32) -> Filter {
    let folded = match layer.form {
        PlainForm::Same => plain(kernel, scale),
        PlainForm::Shifted => nine_in(kernel, scale),
        PlainForm::Split => nine_out(kernel, scale),
        PlainForm::Upsampled => double(kernel, scale),
        PlainForm::Transposed(taps) => transposed(kernel, taps, scale),
    };
    Filter { stride: layer.stride, ..folded }
}

fn filter(outputs: usize, kernel: usize, inputs: usize) -> Filter {
    let weight = vec![0.0; outputs * kernel * kernel * inputs];
    Filter { outputs, kernel, stride: 1, inputs, weight, norm: Vec::new(), epsilon: 0.0 }
}

fn plain(kernel: &Kernel, scale: &dyn Fn(usize) -> f32) -> Filter {
    let mut folded = filter(padded(kernel.outputs), kernel.side, padded(kernel.inputs));
    each(kernel, |output, input, y, x, value| folded.add(output, (y, x), input, value * scale(output)));
    folded
}

fn nine_in(kernel: &Kernel, scale: &dyn Fn(usize) -> f32) -> Filter {
    let mut folded = filter(padded(kernel.outputs), 3, SHIFTED);
    each(kernel, |output, colour, y, x, value| {
        let shift = 3 * (y / 3) + x / 3;
        folded.add(output, (y % 3, x % 3), COLOURS * shift + colour, value * scale(output));
    });
    folded
}

/// Outputs are the summands of a colour, one per shift; `scale` is called for each of them.
fn nine_out(kernel: &Kernel, scale: &dyn Fn(usize) -> f32) -> Filter {
    let mut folded = filter(SHIFTED, 3, padded(kernel.inputs));
    each(kernel, |colour, input, y, x, value| {
        let part = COLOURS * (3 * (y / 3) + x / 3) + colour;
        folded.add(part, (y % 3, x % 3), input, value * scale(part));
    });
    folded
}

/// The results of an upsampling convolution in each input pixel, see [`impasto_kernels::steps::Lattice`].
const PHASES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Which of the two input rows a tap multiplies.
fn met(phase: usize, tap: usize) -> usize {
    usize::from(tap + phase > 1)
}

/// Result row `2 i - 1` uses input rows `i - 1`, `i - 1` and `i`; result row `2 i` uses rows `i - 1`, `i` and `i`.
fn double(kernel: &Kernel, scale: &dyn Fn(usize) -> f32) -> Filter {
    let outputs = padded(kernel.outputs);
    let mut folded = filter(4 * outputs, 2, padded(kernel.inputs));
    each(kernel, |output, input, y, x, value| {
        let step = kernel.step(output, input);
        let value = (value / step).round() * step;
        for (a, b) in PHASES {
            let output_here = (2 * a + b) * outputs + output;
            folded.add(output_here, (met(a, y), met(b, x)), input, value * scale(output));
        }
    });
    folded
}

/// Every weight belongs to one of the results in a pixel, and multiplies exactly one pixel for it.
fn transposed(kernel: &Kernel, taps: TransposedTaps, scale: &dyn Fn(usize) -> f32) -> Filter {
    let outputs = padded(kernel.outputs);
    let mut folded = filter(4 * outputs, taps.cells, padded(kernel.inputs));
    let cells = || (0..taps.cells).flat_map(|y| (0..taps.cells).map(move |x| (y, x)));
    for ((a, b), (y, x)) in PHASES.into_iter().flat_map(|phase| cells().map(move |cell| (phase, cell))) {
        let Some((tap_y, tap_x)) = taps.tap(a, y).zip(taps.tap(b, x)) else { continue };
        for (output, input) in (0..kernel.outputs).flat_map(|o| (0..kernel.inputs).map(move |i| (o, i))) {
            let value = kernel.at(output, input, tap_y, tap_x) * scale(output);
            folded.add((2 * a + b) * outputs + output, (y, x), input, value);
        }
    }
    folded
}

fn each(kernel: &Kernel, mut take: impl FnMut(usize, usize, usize, usize, f32)) {
    for output in 0..kernel.outputs {
        for input in 0..kernel.inputs {
            for (y, x) in (0..kernel.side).flat_map(|y| (0..kernel.side).map(move |x| (y, x))) {
                take(output, input, y, x, kernel.at(output, input, y, x));
            }
        }
    }
}

/// The power of two nearest to `1 / sum`; 1 for a channel of zeros.
fn inverse_power(sum: f32) -> f32 {
    if sum > 0.0 && sum.is_finite() { (-sum.log2().round().clamp(-100.0, 100.0)).exp2() } else { 1.0 }
}

/// Takes weights out of a model.
struct Reader<'a> {
    network: &'a Network,
    tensors: &'a Tensors,
    digits: u32,
}

impl Reader<'_> {
    /// A layer's kernel and the convolution's bias.
    fn kernel(&self, index: usize) -> Result<(Kernel, Vec<f32>)> {
        let (mut weight, bias) = in_order_of_colours(self.network, index, self.tensors)?;
        let Convolution { inputs, outputs, kernel: side, resampling, .. } = self.network.layers[index].convolution;
        if let Resampling::Transposed { .. } = resampling {
            let taps = side * side;
            let by_input: Vec<_> = weight.chunks_exact(taps).collect();
            let pairs = (0..outputs).flat_map(|output| (0..inputs).map(move |input| input * outputs + output));
            weight = pairs.flat_map(|pair| by_input[pair]).copied().collect();
        }
        Ok((Kernel { weight, digits: self.digits, outputs, inputs, side }, bias))
    }

    /// The weights of a layer that normalizes.
    fn filter(&self, index: usize, layer: &LoweredLayer) -> Result<Filter> {
        let (kernel, _) = self.kernel(index)?;
        let Some(norm) = &self.network.layers[index].normalization else {
            return Err(Error::new("the GPU kernels do not support a layer without normalization"));
        };
        let part = |part: &str| values(self.tensors, &format!("{}.{part}", norm.name), &[kernel.outputs]);
        let (scales, biases) = (part("weight")?, part("bias")?);
        // The frame's levels are not yet in the network's range.
        let (is_first, range) = (index == 0, self.network.pixels.from_level(0).0);
        let channel = |output: usize| Channel {
            weight: scales[output],
            bias: biases[output],
            unit: if is_first { UNIT * range } else { 1.0 } / kernel.scale(output),
            sums: if is_first { [0, 1, 2].map(|colour| range * kernel.sum(output, colour)) } else { [0.0; COLOURS] },
        };
        let nothing = Channel { weight: 0.0, bias: 0.0, unit: 1.0, sums: [0.0; COLOURS] };
        let outputs = kernel.outputs;
        let channels = (0..padded(outputs)).map(|i| if i < outputs { channel(i) } else { nothing }).collect();
        let folded = fold(&kernel, layer, &|output| kernel.scale(output));
        Ok(Filter { norm: channels, epsilon: norm.epsilon as f32, ..folded })
    }

    /// The weights of the last layer, and [`Weights::join`].
    fn last(&self, index: usize, layer: &LoweredLayer) -> Result<(Filter, Vec<f32>)> {
        let (kernel, bias) = self.kernel(index)?;
        let whole = fold(&kernel, layer, &|_| 1.0);
        let len = whole.kernel * whole.kernel * whole.inputs;
        let scale = |part: usize| inverse_power(whole.weight[part * len..][..len].iter().map(|x| x.abs()).sum());
        let scales: Vec<_> = (0..whole.outputs).map(scale).collect();
        let mut join: Vec<_> = scales.iter().map(|scale| scale.recip()).collect();
        join[layer.side() * layer.side() * COLOURS..].fill(0.0);
        join.extend(bias);
        join.push(match self.network.output {
            OutputMap::Linear => 0.0,
            OutputMap::Tanh { scale } => scale,
        });
        join.extend((0..COLOURS).map(|colour| self.network.pixels.to_level(colour)).flat_map(<[f32; 2]>::from));
        Ok((fold(&kernel, layer, &|part| scales[part]), join))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_adds_up_the_weights_that_meet_a_pixel() {
        let weight = [1.0, 10.0, 100.0, 2.0, 20.0, 200.0, 4.0, 40.0, 400.0];
        let kernel = Kernel { weight: weight.to_vec(), digits: 24, outputs: 1, inputs: 1, side: 3 };
        let folded = double(&kernel, &|_| 1.0);
        let at = |phase: usize, y: usize, x: usize| folded.weight[((phase * 8 * 2 + y) * 2 + x) * 8];
        // Odd results: the first two rows and columns are added.
        assert_eq!(
            [at(0, 0, 0), at(0, 0, 1), at(0, 1, 0), at(0, 1, 1)].map(f32::to_bits),
            [33.0f32, 300.0, 44.0, 400.0].map(f32::to_bits)
        );
        // Even ones: the last two.
        assert_eq!(
            [at(3, 0, 0), at(3, 0, 1), at(3, 1, 0), at(3, 1, 1)].map(f32::to_bits),
            [1.0f32, 110.0, 6.0, 660.0].map(f32::to_bits)
        );
    }

    #[test]
    fn sums_of_an_upsampling_kernel_are_not_rounded_again() {
        let weight: Vec<_> = (0..9).map(|i| (i as f32 * 1.7).sin() * 0.3).collect();
        let kernel = Kernel { weight: weight.clone(), digits: 8, outputs: 1, inputs: 1, side: 3 };
        let folded = double(&kernel, &|_| 1.0);
        let of = |phase: usize| folded.weight[phase * 8 * 4 * 8..].iter().step_by(8).take(4);
        for phase in 0..4 {
            assert!(of(phase).all(|&x| half::bf16::from_f32(x).to_f32().to_bits() == x.to_bits()), "{phase}");
            assert_eq!(of(phase).sum::<f32>().to_bits(), of(0).sum::<f32>().to_bits());
        }
        let off = weight.iter().sum::<f32>() - of(0).sum::<f32>();
        assert!(off.abs() < 0.03, "{off}");
    }

    #[test]
    fn scales_are_powers_of_two_that_bound_the_results() {
        for sum in [1e-3f32, 0.7, 1.0, 3.1, 900.0] {
            let scale = inverse_power(sum);
            assert_eq!(scale.to_bits() & 0x7f_ffff, 0, "{scale} has no other digits");
            assert!((0.7..1.5).contains(&(sum * scale)), "{sum}");
        }
        assert_eq!([inverse_power(0.0), inverse_power(f32::NAN)].map(f32::to_bits), [1f32; 2].map(f32::to_bits));
    }
}
