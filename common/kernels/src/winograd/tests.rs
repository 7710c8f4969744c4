use super::*;
use crate::reference::{Convolution, noise};

struct Case {
    shape: Geometry,
    input: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
    gate: Vec<f32>,
}

impl Case {
    fn new(shape: Geometry) -> Self {
        let (height, width) = shape.out_size();
        let results = shape.batch * shape.outputs * height * width;
        Self {
            shape,
            input: noise(shape.batch * shape.inputs * shape.height * shape.width, 1),
            weight: noise(shape.outputs * shape.inputs * 9, 2),
            bias: noise(shape.outputs, 3),
            gradient: noise(results, 4),
            gate: noise(results, 5),
        }
    }

    /// Without bias and ReLU; the gate is part of the gradients.
    fn expected(&self) -> Convolution {
        let gated = self.gradient.iter().zip(&self.gate).map(|(&dy, &gate)| if gate > 0.0 { dy } else { 0.0 });
        Convolution::new(&self.shape, &self.input, &self.weight, &gated.collect::<Vec<_>>())
    }

    /// With bias.
    fn output(&self) -> Vec<f64> {
        let (height, width) = self.shape.out_size();
        let bias = |i: usize| f64::from(self.bias[i / (height * width) % self.shape.outputs]);
        self.expected().ys.into_iter().enumerate().map(|(i, y)| y + bias(i)).collect()
    }

    fn run_weight_gradient(&self, level: Level) -> Vec<f32> {
        let mut output = vec![f32::NAN; self.weight.len()];
        weight_gradient(level, &self.shape, &self.input, &self.gradient, Some(&self.gate), &mut output);
        output
    }

    fn run_forward(&self, level: Level, relu: bool) -> Vec<f32> {
        let mut output = vec![f32::NAN; self.gradient.len()];
        let g = Geometry { relu, ..self.shape };
        forward(level, &g, &self.input, &self.weight, &self.bias, &mut output);
        output
    }

    fn run_input_gradient(&self, level: Level) -> Vec<f32> {
        let mut output = vec![f32::NAN; self.input.len()];
        input_gradient(level, &self.shape, &self.gradient, Some(&self.gate), &self.weight, &mut output);
        output
    }
}

/// The norm of the difference over the norm of what was expected.
fn error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let square = |x: f64| x * x;
    let off: f64 = actual.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - b)).sum();
    (off / expected.iter().copied().map(square).sum::<f64>()).sqrt()
}

fn shape(batch: usize, inputs: usize, outputs: usize, height: usize, width: usize) -> Geometry {
    Geometry {
        batch,
        inputs,
        outputs,
        height,
        width,
        kernel: 3,
        upsample: 1,
        pad: 1,
        reflect: false,
        stride: 1,
        relu: false,
    }
}

/// Small ones, large enough ones that there are several blocks, channels that are multiples of nothing, all borders.
fn shapes() -> Vec<Geometry> {
    let mut shapes: Vec<Geometry> = (1..=9).map(|size| shape(2, 3, 5, size, 10 - size)).collect();
    shapes.extend([shape(1, 17, 3, 33, 71), shape(3, 5, 17, 20, 130), shape(1, 64, 17, 12, 9)]);
    shapes.extend([(0, 1), (2, 1), (1, 2)].map(|(pad, upsample)| Geometry { upsample, pad, ..shape(2, 5, 9, 11, 37) }));
    shapes.extend((2..=7).map(|size| Geometry { reflect: true, ..shape(1, 3, 4, size, 9 - size) }));
    shapes.extend((1..=6).map(|size| Geometry { upsample: 2, ..shape(1, 3, 4, size, 7 - size) }));
    shapes.extend((1..=6).map(|size| Geometry { reflect: true, upsample: 2, ..shape(1, 3, 4, size, 7 - size) }));
    shapes.extend([1, 2].map(|upsample| Geometry { reflect: true, upsample, ..shape(2, 9, 17, 19, 67) }));
    shapes.extend([1, 2].map(|upsample| Geometry { reflect: true, upsample, ..shape(1, 3, 4, 5, 64 / upsample + 1) }));
    shapes
}

#[test]
fn the_output_equals_the_plain_sum_for_every_instruction_set() {
    for case in shapes().into_iter().map(Case::new) {
        let mut expected = case.output();
        for level in Level::all() {
            let off = error(&case.run_forward(level, false), &expected);
            assert!(off < 5e-6, "{off} at {level:?}, {:?}", case.shape);
        }
        for x in &mut expected {
            *x = x.max(0.0);
        }
        let off = error(&case.run_forward(Level::detect(), true), &expected);
        assert!(off < 5e-6, "{off} rectified, {:?}", case.shape);
    }
}

#[test]
fn the_input_gradient_equals_the_plain_sum_for_every_instruction_set() {
    for case in shapes().into_iter().map(Case::new) {
        let expected = case.expected().dxs;
        for level in Level::all() {
            let off = error(&case.run_input_gradient(level), &expected);
            assert!(off < 5e-6, "{off} at {level:?}, {:?}", case.shape);
        }
    }
}

#[test]
fn the_weight_gradient_equals_the_plain_sum_for_every_instruction_set() {
    for case in shapes().into_iter().map(Case::new) {
        let expected = case.expected().dweight;
        for level in Level::all() {
            let off = error(&case.run_weight_gradient(level), &expected);
            assert!(off < 5e-6, "{off} at {level:?}, {:?}", case.shape);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let case = Case::new(Geometry { reflect: true, ..shape(3, 17, 35, 30, 41) });
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let level = Level::detect();
        pool.install(|| {
            (case.run_forward(level, true), case.run_input_gradient(level), case.run_weight_gradient(level))
        })
    };
    let one = run(1);
    for threads in 2..=5 {
        assert!(run(threads) == one, "{threads} threads");
    }
}

/// Activations and weights as VGG-16 has them: rectified inputs of some hundreds, weights of He's magnitude.
#[test]
fn the_error_at_realistic_magnitudes_is_a_few_units_of_the_sixth_digit() {
    let mut case = Case::new(shape(1, 256, 16, 16, 16));
    case.input.iter_mut().for_each(|x| *x = (400.0 * *x).max(0.0));
    case.weight.iter_mut().for_each(|w| *w *= (6.0_f32 / (9.0 * 256.0)).sqrt());
    let expected = case.output();
    let deviation = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt();
    for level in Level::all() {
        let actual = case.run_forward(level, false);
        let largest = actual.iter().zip(&expected).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        let off = error(&actual, &expected);
        assert!(off < 4e-6 && largest < 4e-5 * deviation, "{off}, {} at {level:?}", largest / deviation);
    }
}
