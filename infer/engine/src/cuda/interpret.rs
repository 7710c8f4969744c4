//! A program carried out by plain loops on the processor: what a card has to do, and how we know it without one.

use half::{bf16, f16};

use impasto_kernels::steps::{
    Border, COLOURS, Channel, Field, Filter, Lattice, NINE_REACH, Program, SHIFTED, SHIFTS, Step, UNIT, Weights,
};

/// The numbers that a card stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    F32,
    F16,
    Bf16,
}

impl Numbers {
    /// Binary digits of a number.
    pub(super) fn digits(self) -> u32 {
        match self {
            Self::F32 => 24,
            Self::F16 => 11,
            Self::Bf16 => 8,
        }
    }

    /// A number as it is read again. f16 saturates, as the kernels' does.
    fn store(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::F16 => f16::from_f32(x.clamp(-65504.0, 65504.0)).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }
}

/// Carries out programs one after the other, in one arena.
pub(super) struct Interpreter<'a> {
    weights: &'a Weights,
    numbers: Numbers,
    epsilon: f64,
    arena: Vec<f32>,
    /// The mean of each colour.
    centre: [f32; COLOURS],
    /// Mean, factor and bias of each channel, by layer.
    normals: Vec<[f32; 3]>,
    /// The weight of the frames before in the statistics, and these statistics.
    pub(super) keep: f64,
    pub(super) kept: Vec<[f64; 2]>,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(weights: &'a Weights, numbers: Numbers, epsilon: f64) -> Self {
        let channels = weights.channels_before(weights.filters.len());
        let (normals, kept) = (vec![[f32::NAN; 3]; channels], vec![[0.0; 2]; channels]);
        Self { weights, numbers, epsilon, arena: Vec::new(), centre: [f32::NAN; COLOURS], normals, keep: 0.0, kept }
    }

    /// Paints `frame`, `(3, height, width)` levels, into the same.
    pub(super) fn paint(&mut self, program: &Program, frame: &[f32]) -> Vec<f32> {
        // What nobody wrote must not be read.
        self.arena.clear();
        self.arena.resize(program.arena, f32::NAN);
        let mut painting = Vec::new();
        for step in &program.steps {
            match *step {
                Step::Survey => self.survey(frame),
                Step::Expand { to } => self.expand(program.size, frame, to),
                Step::Convolve { from, to, layer } => self.convolve(from, to, layer),
                Step::Measure { from, lattice, layer } => self.measure(from, lattice, layer),
                Step::Apply { .. } => self.apply(step),
                Step::Join { from } => painting = self.join(program.size, from),
            }
        }
        painting
    }

    fn read(&self, field: &Field, y: usize, x: usize, channel: usize) -> f32 {
        assert!(y < field.height && x < field.width && channel < field.channels);
        self.arena[field.at + (y * field.width + x) * field.channels + channel]
    }

    fn write(&mut self, field: &Field, y: usize, x: usize, channel: usize, value: f32) {
        self.arena[field.at + (y * field.width + x) * field.channels + channel] = self.numbers.store(value);
    }

    fn survey(&mut self, frame: &[f32]) {
        for (centre, plane) in self.centre.iter_mut().zip(frame.chunks_exact(frame.len() / COLOURS)) {
            *centre =
                (plane.iter().map(|&level| f64::from(level)).sum::<f64>() / plane.len() as f64 + 0.5).floor() as f32;
        }
    }

    fn expand(&mut self, (height, width): (usize, usize), frame: &[f32], to: Field) {
        for (y, x, channel) in places(&to) {
            let (shift, colour) = (channel / COLOURS, channel % COLOURS);
            let value = if shift < SHIFTS {
                let y = inside(y + 3 * (shift / 3), NINE_REACH, height, Border::Mirrored);
                let x = inside(x + 3 * (shift % 3), NINE_REACH, width, Border::Mirrored);
                (frame[(colour * height + y) * width + x] - self.centre[colour]) / UNIT
            } else {
                0.0
            };
            self.write(&to, y, x, channel, value);
        }
    }

    fn convolve(&mut self, from: Field, to: Field, layer: usize) {
        let Filter { kernel, stride, inputs, weight, .. } = &self.weights.filters[layer];
        assert_eq!((*inputs, self.weights.filters[layer].outputs), (from.channels, to.channels));
        let weight: Vec<_> = weight.iter().map(|&x| self.numbers.store(x)).collect();
        for (y, x, output) in places(&to) {
            let mut sum = 0.0;
            for (dy, dx) in (0..*kernel).flat_map(|dy| (0..*kernel).map(move |dx| (dy, dx))) {
                let weight = &weight[((output * kernel + dy) * kernel + dx) * inputs..][..*inputs];
                let at = from.at + ((y * stride + dy) * from.width + x * stride + dx) * from.channels;
                sum += weight.iter().zip(&self.arena[at..]).map(|(w, x)| w * x).sum::<f32>();
            }
            self.write(&to, y, x, output, sum);
        }
    }

    /// Where row `y`, column `x` and channel of the content lie.
    fn content(&self, field: &Field, lattice: Lattice, y: usize, x: usize, channel: usize) -> f32 {
        match lattice {
            Lattice::Plain => self.read(field, y, x, channel),
            Lattice::Double => {
                let phase = 2 * ((y + 1) % 2) + (x + 1) % 2;
                self.read(field, y.div_ceil(2), x.div_ceil(2), phase * (field.channels / 4) + channel)
            }
        }
    }

    fn measure(&mut self, from: Field, lattice: Lattice, layer: usize) {
        let (height, width, channels) = lattice.content(&from);
        let before = self.weights.channels_before(layer);
        for channel in 0..channels {
            let values =
                || (0..height * width).map(|i| f64::from(self.content(&from, lattice, i / width, i % width, channel)));
            let count = (height * width) as f64;
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let Channel { weight, bias, unit, sums } = self.weights.filters[layer].norm[channel];
            let unit = f64::from(unit);
            let offset: f64 =
                sums.iter().zip(self.centre).map(|(&sum, centre)| f64::from(sum) * f64::from(centre)).sum();
            let kept = &mut self.kept[before + channel];
            for (kept, own) in kept.iter_mut().zip([unit * mean + offset, unit * unit * variance]) {
                *kept = own + self.keep * (*kept - own);
            }
            let factor = f64::from(weight) / ((kept[1] + self.epsilon) / (unit * unit)).sqrt();
            self.normals[before + channel] = [((kept[0] - offset) / unit) as f32, factor as f32, bias];
        }
    }

    fn apply(&mut self, step: &Step) {
        let &Step::Apply { from, lattice, layer, relu, residual, border, pad, to } = step else { return };
        let (height, width, _) = lattice.content(&from);
        let before = self.weights.channels_before(layer);
        for (y, x, channel) in places(&to) {
            let [mean, factor, bias] = self.normals[before + channel];
            let (inner_y, inner_x) = (inside(y, pad, height, border), inside(x, pad, width, border));
            let mut value = (self.content(&from, lattice, inner_y, inner_x, channel) - mean) * factor + bias;
            if relu && value < 0.0 {
                value = 0.0;
            }
            if let Some(residual) = residual {
                value += self.read(&residual, inner_y + 1, inner_x + 1, channel);
            }
            self.write(&to, y, x, channel, value);
        }
    }

    fn join(&self, (height, width): (usize, usize), from: Field) -> Vec<f32> {
        let (factors, biases) = self.weights.join.split_at(SHIFTED);
        let mut painting = Vec::new();
        for (colour, y) in (0..COLOURS).flat_map(|colour| (0..height).map(move |y| (colour, y))) {
            painting.extend((0..width).map(|x| {
                let part = |shift: usize| {
                    let channel = COLOURS * shift + colour;
                    factors[channel] * self.read(&from, y + 3 * (shift / 3), x + 3 * (shift % 3), channel)
                };
                biases[colour] + (0..SHIFTS).map(part).sum::<f32>()
            }));
        }
        painting
    }
}

/// The pixel that pixel `i` of a picture with a border of `pad` shows.
fn inside(i: usize, pad: usize, size: usize, border: Border) -> usize {
    let i = i as isize - pad as isize;
    let last = size as isize - 1;
    let i = match border {
        Border::Edge => i.clamp(0, last),
        Border::Mirrored if i < 0 => -i,
        Border::Mirrored if i > last => 2 * last - i,
        Border::Mirrored => i,
    };
    usize::try_from(i).unwrap()
}

fn places(field: &Field) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let Field { height, width, channels, .. } = *field;
    (0..height * width * channels).map(move |i| (i / channels / width, i / channels % width, i % channels))
}
