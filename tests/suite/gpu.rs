//! Compares every op on a GPU with the CPU: f32 within 1e-4, bf16 within 2e-2, gradients included. Skipped without a GPU or in
//! a build without CUDA; the tests of `common/kernels` run the same kernels on the CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use impasto_common::device::DeviceChoice;
use impasto_common::network::Preset;
use impasto_nn::StyleNet;
use impasto_nn::device::{self, has_bf16};
use impasto_nn::ops::{self, AdamNumbers, AdamParameter, Conv2d, InstanceNorm, Padding};
use impasto_trainer::init;

use crate::random::Random;

/// The GPU, or `None` with a line on standard error.
fn gpu() -> Option<Device> {
    match device::open(DeviceChoice::Cuda(0)) {
        Ok((device, _)) => Some(device),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a skipped test says so")]
            {
                eprintln!("skipped: {error}");
            }
            None
        }
    }
}

/// An argument of an op: activations use the tested precision, weights and positions stay f32.
enum Argument {
    Activation(Tensor),
    Weight(Tensor),
    Fixed(Tensor),
}

use Argument::{Activation, Fixed, Weight};

/// An op, or its part before the ReLU.
type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Results before a ReLU that are smaller than this, relative to the largest, have no certain sign: the tolerance of bf16.
const NEAR_ZERO: f32 = 2e-2;

/// 0 where a result before the ReLU lies near zero, else 1: there rounding decides whether a gradient passes, and with it far
/// more than the tolerance.
fn certain(before_relu: Op, arguments: &[Argument]) -> Result<Tensor> {
    let inputs: Vec<_> = arguments.iter().map(|(Activation(x) | Weight(x) | Fixed(x))| x.clone()).collect();
    let ys = before_relu(&inputs)?;
    let bound = f64::from(NEAR_ZERO * largest(&ys));
    ys.abs()?.gt(bound)?.to_dtype(DType::F32)
}

/// The result of `op` and the gradients of a weighting of it, on `device`, read back as f32. What `mask` has a 0 for has no
/// weight.
fn run(op: Op, arguments: &[Argument], mask: Option<&Tensor>, device: &Device, dtype: DType) -> Result<Vec<Tensor>> {
    let variable = |tensor: &Tensor, dtype| Var::from_tensor(&tensor.to_device(device)?.to_dtype(dtype)?);
    let variables = arguments.iter().map(|argument| match argument {
        Activation(tensor) => Ok((variable(tensor, dtype)?, true)),
        Weight(tensor) => Ok((variable(tensor, DType::F32)?, true)),
        Fixed(tensor) => Ok((variable(tensor, DType::F32)?, false)),
    });
    let variables: Vec<_> = variables.collect::<Result<_>>()?;
    let inputs: Vec<_> =
        variables.iter().map(|(var, tracked)| if *tracked { var.as_tensor().clone() } else { var.detach() }).collect();
    let ys = op(&inputs)?;
    let weighting = Random(99).tensor(ys.dims(), 1.0);
    let weighting = mask.map_or(Ok(weighting.clone()), |mask| weighting * mask)?.to_device(device)?;
    let loss = (ys.to_dtype(DType::F32)? * weighting)?.sum_all()?;
    let gradients = loss.backward()?;
    let tracked = variables.iter().filter(|(_, tracked)| *tracked);
    let gradients = tracked.map(|(var, _)| gradients.get(var).unwrap().clone());
    let back = |tensor: Tensor| tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu);
    std::iter::once(ys.detach()).chain(gradients).map(back).collect()
}

fn largest(tensor: &Tensor) -> f32 {
    tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

fn l2_norm(tensor: &Tensor) -> f32 {
    tensor.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar().unwrap()
}

/// Compares ops on a GPU with the CPU, and collects all differences.
struct Comparison {
    gpu: Device,
    differences: Vec<String>,
}

impl Comparison {
    /// Starts with the GPU, if there is one.
    fn begin() -> Option<Self> {
        Some(Self { gpu: gpu()?, differences: Vec::new() })
    }

    /// The result and gradients on the GPU must equal those of the CPU, up to the tolerance times the largest of each, and
    /// must be the same each time. For an op that ends with a ReLU, `before_relu` is the op without it.
    fn same(&mut self, what: &str, op: Op, before_relu: Option<Op>, arguments: &[Argument]) {
        for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::BF16, 2e-2)] {
            if dtype == DType::BF16 && !has_bf16(&self.gpu) {
                continue;
            }
            let rounded = rounded(arguments, dtype);
            let mask = before_relu.map(|op| certain(op, &rounded).unwrap());
            let expected = run(op, &rounded, mask.as_ref(), &Device::Cpu, DType::F32).unwrap();
            let twice = [(); 2].map(|()| run(op, &rounded, mask.as_ref(), &self.gpu, dtype));
            let [Some(found), Some(again)] = twice.map(|tensors| self.done(&format!("{what} {dtype:?}"), tensors))
            else {
                continue;
            };
            for (i, ((found, again), expected)) in found.iter().zip(&again).zip(&expected).enumerate() {
                let what = format!("{what} {dtype:?}: tensor {i}");
                if found.dims() != expected.dims() {
                    self.hold(false, || format!("{what} is of {:?}, not {:?}", found.dims(), expected.dims()));
                    continue;
                }
                let (error, scale) = (largest(&(found - expected).unwrap()), largest(expected));
                self.hold(error <= tolerance * scale, || format!("{what} is off by {error} of {scale}"));
                let same = largest(&(found - again).unwrap()).to_bits() == 0;
                self.hold(same, || format!("{what}: another run, other bytes"));
            }
        }
    }

    /// What a GPU computed; none, which is a difference, if it failed.
    fn done<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.differences.push(format!("{what} failed: {error}"))).ok()
    }

    fn hold(&mut self, holds: bool, difference: impl FnOnce() -> String) {
        if !holds {
            self.differences.push(difference());
        }
    }

    fn finish(self) {
        assert!(self.differences.is_empty(), "{} differ:\n{}", self.differences.len(), self.differences.join("\n"));
    }
}

/// The arguments with activations rounded to `dtype`, so that CPU and GPU start from the same values.
fn rounded(arguments: &[Argument], dtype: DType) -> Vec<Argument> {
    let round = |argument: &Argument| match argument {
        Activation(x) => Activation(x.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()),
        Weight(x) => Weight(x.clone()),
        Fixed(x) => Fixed(x.clone()),
    };
    arguments.iter().map(round).collect()
}

fn noise(seed: u64, dims: &[usize]) -> Tensor {
    Random(seed).tensor(dims, 1.0)
}

#[test]
fn convolutions() {
    let Some(mut comparison) = Comparison::begin() else { return };
    for (inputs, outputs, kernel, size) in
        [(3, 32, 9, (40, 37)), (32, 64, 3, (32, 32)), (5, 7, 3, (9, 12)), (64, 3, 1, (8, 8))]
    {
        let half = kernel / 2;
        for (upsample, stride, padding, relu) in [
            (1, 1, Padding::Reflect(half), false),
            (1, 2, Padding::Reflect(half), true),
            (2, 1, Padding::Reflect(half), false),
            (1, 1, Padding::Zero(half), true),
            (2, 2, Padding::Zero(0), false),
        ] {
            let config = Conv2d { upsample, padding, stride, relu };
            let arguments = [
                Activation(noise(1, &[2, inputs, size.0, size.1])),
                Weight(noise(2, &[outputs, inputs, kernel, kernel])),
                Weight(noise(3, &[outputs])),
            ];
            let what = format!("conv2d {inputs}->{outputs} {kernel}x{kernel} {config:?}");
            let linear = Conv2d { relu: false, ..config };
            let before_relu: Op = &|x| ops::conv2d(&x[0], &x[1], &x[2], &linear);
            let op: Op = &|x| ops::conv2d(&x[0], &x[1], &x[2], &config);
            comparison.same(&what, op, relu.then_some(before_relu), &arguments);
        }
    }
    comparison.finish();
}

#[test]
fn instance_norms() {
    let Some(mut comparison) = Comparison::begin() else { return };
    for (channels, height, width) in [(3, 5, 7), (32, 64, 64), (2, 200, 211)] {
        for relu in [false, true] {
            let config = InstanceNorm { relu, ..InstanceNorm::default() };
            let dims = [2, channels, height, width];
            let mut arguments =
                vec![Activation(noise(1, &dims)), Weight(noise(2, &[channels])), Weight(noise(3, &[channels]))];
            let what = format!("instance_norm {dims:?} {config:?}");
            // The residual is added after the ReLU and does not affect its sign.
            let linear = |x: &[Tensor]| ops::instance_norm(&x[0], &x[1], &x[2], None, &InstanceNorm::default());
            let before_relu: Option<Op> = if relu { Some(&linear) } else { None };
            let plain = |x: &[Tensor]| ops::instance_norm(&x[0], &x[1], &x[2], None, &config);
            comparison.same(&what, &plain, before_relu, &arguments);
            arguments.push(Activation(noise(4, &dims)));
            let residual = |x: &[Tensor]| ops::instance_norm(&x[0], &x[1], &x[2], Some(&x[3]), &config);
            comparison.same(&format!("{what} with a residual"), &residual, before_relu, &arguments);
        }
    }
    comparison.finish();
}

#[test]
fn pools_grams_differences_and_warps() {
    let Some(mut comparison) = Comparison::begin() else { return };
    let picture = |seed| Activation(noise(seed, &[2, 16, 33, 40]));
    comparison.same("max_pool2d", &|x| ops::max_pool2d(&x[0]), None, &[picture(1)]);
    comparison.same("gram", &|x| ops::gram(&x[0]), None, &[picture(2)]);
    comparison.same("mse", &|x| ops::mse(&x[0], &x[1]), None, &[picture(3), picture(4)]);
    comparison.same("total_variation", &|x| ops::total_variation(&x[0]), None, &[picture(5)]);
    let positions = (noise(6, &[2, 2, 30, 31]) * 25.0).unwrap();
    comparison.same("warp", &|x| ops::warp(&x[0], &x[1]), None, &[picture(7), Fixed((positions + 16.0).unwrap())]);
    let xs = noise(8, &[2, 16, 33, 40]);
    let mean = |xs: &Tensor| ops::mean_square(xs).unwrap().to_scalar::<f32>().unwrap();
    let (found, expected) = (mean(&xs.to_device(&comparison.gpu).unwrap()), mean(&xs));
    let same = (found / expected - 1.0).abs() < 1e-5;
    comparison.hold(same, || format!("mean_square is {found}, not {expected}"));
    comparison.finish();
}

#[test]
fn adam_and_the_norm_of_the_gradient() {
    let Some(mut comparison) = Comparison::begin() else { return };
    let numbers = AdamNumbers {
        fresh1: 0.1,
        beta2: 0.999,
        fresh2: 0.001,
        epsilon: 1e-8,
        gradient_scale: 0.5,
        step_size: 0.01,
        root_correction: 0.3,
    };
    let all = |device: &Device| {
        let tensor = |seed, len: usize| noise(seed, &[len]).to_device(device).unwrap();
        let sets: Vec<_> = [1, 300, 9000]
            .map(|len| {
                let weight = Var::from_tensor(&tensor(1, len)).unwrap();
                (weight, tensor(2, len), tensor(3, len), tensor(4, len).sqr().unwrap())
            })
            .into();
        let parameters: Vec<_> = sets
            .iter()
            .map(|(weight, gradient, first, second)| AdamParameter { weight, gradient, first, second })
            .collect();
        let norm = ops::gradient_norm(&sets.iter().map(|set| &set.1).collect::<Vec<_>>()).unwrap();
        ops::adam_step(&parameters, &numbers).unwrap();
        let back = |tensor: &Tensor| tensor.flatten_all().unwrap().to_device(&Device::Cpu).unwrap();
        let tensors = sets.iter().flat_map(|(weight, _, first, second)| [weight.as_tensor(), first, second]);
        std::iter::once(back(&norm)).chain(tensors.map(back)).collect::<Vec<_>>()
    };
    for (i, (found, expected)) in all(&comparison.gpu).iter().zip(&all(&Device::Cpu)).enumerate() {
        let (error, scale) = (largest(&(found - expected).unwrap()), largest(expected));
        comparison.hold(error <= 1e-5 * scale, || format!("tensor {i} is off by {error} of {scale}"));
    }
    comparison.finish();
}

#[test]
fn a_whole_network_and_its_gradients() {
    let Some(gpu) = gpu() else { return };
    let paint = |device: &Device, dtype: DType| {
        let parameters = init::random_parameters(&Preset::S.into(), 1, device).unwrap();
        let network: StyleNet = init::network(&Preset::S.into(), &parameters).unwrap();
        let photos = ((noise(1, &[2, 3, 64, 72]) + 1.0).unwrap() * 127.0).unwrap().to_device(device).unwrap();
        let painted = network.forward(&photos.to_dtype(dtype).unwrap()).unwrap().to_dtype(DType::F32).unwrap();
        let loss = ops::mse(&painted, &photos).unwrap();
        let gradients = loss.backward().unwrap();
        let mut all = vec![painted.detach()];
        all.extend(parameters.values().map(|parameter| gradients.get(parameter).unwrap().clone()));
        all.into_iter().map(|tensor| tensor.to_device(&Device::Cpu).unwrap()).collect::<Vec<_>>()
    };
    let (found, expected) = (paint(&gpu, DType::F32), paint(&Device::Cpu, DType::F32));
    let mut comparison = Comparison { gpu, differences: Vec::new() };
    let floor = expected[1..].iter().map(l2_norm).fold(0.0, f32::max) * 1e-3;
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // In the middle of a network, nothing can be masked. A ReLU that is switched by rounding changes single values a
        // lot, but all values together only a little. The gradient of a bias before a normalisation is only rounding noise,
        // so it has no scale of its own.
        let (error, scale) = (l2_norm(&(found - expected).unwrap()), l2_norm(expected).max(floor));
        comparison.hold(error <= 1e-3 * scale, || format!("tensor {i} is off by {error} of {scale} in the L2 norm"));
    }
    comparison.finish();
}
