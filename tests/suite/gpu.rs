//! Every op on a GPU against the CPU: f32 within 1e-4, bf16 within 2e-2, gradients included. Without a GPU, or in a build without
//! CUDA, skipped: `common`'s tests run the same kernels on the CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use impasto_common::device::DeviceChoice;
use impasto_common::network::Preset;
use impasto_nn::StyleNet;
use impasto_nn::device::{self, has_bf16};
use impasto_nn::ops::{self, AdamNumbers, AdamParameter, Conv2d, InstanceNorm, Padding};
use impasto_trainer::init;

use crate::random::Random;

/// The GPU; none, said on standard error, where there is none.
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

/// An argument of an op: activations take part in the precision, weights and positions stay f32.
enum Argument {
    Activation(Tensor),
    Weight(Tensor),
    Fixed(Tensor),
}

use Argument::{Activation, Fixed, Weight};

/// The result of `op` and the gradients of a weighting of it, on `device`, read back as f32.
fn run(op: &dyn Fn(&[Tensor]) -> Result<Tensor>, arguments: &[Argument], device: &Device, dtype: DType) -> Vec<Tensor> {
    let place = |tensor: &Tensor, dtype| tensor.to_device(device).unwrap().to_dtype(dtype).unwrap();
    let variable = |tensor: &Tensor, dtype| Var::from_tensor(&place(tensor, dtype)).unwrap();
    let variables = arguments.iter().map(|argument| match argument {
        Activation(tensor) => (variable(tensor, dtype), true),
        Weight(tensor) => (variable(tensor, DType::F32), true),
        Fixed(tensor) => (variable(tensor, DType::F32), false),
    });
    let variables: Vec<_> = variables.collect();
    let inputs: Vec<_> =
        variables.iter().map(|(var, tracked)| if *tracked { var.as_tensor().clone() } else { var.detach() }).collect();
    let ys = op(&inputs).unwrap();
    let weighting = Random(99).tensor(ys.dims(), 1.0).to_device(device).unwrap();
    let loss = (ys.to_dtype(DType::F32).unwrap() * weighting).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let tracked = variables.iter().filter(|(_, tracked)| *tracked);
    let gradients = tracked.map(|(var, _)| gradients.get(var).unwrap().clone());
    let back = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap().to_device(&Device::Cpu).unwrap();
    std::iter::once(ys.detach()).chain(gradients).map(back).collect()
}

fn largest(tensor: &Tensor) -> f32 {
    tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Asserts that result and gradients on the GPU are those of the CPU, up to the tolerance times the largest of each.
fn assert_same(gpu: &Device, what: &str, op: &dyn Fn(&[Tensor]) -> Result<Tensor>, arguments: &[Argument]) {
    // The CPU gets the numbers that bf16 can hold, so that both start from the same.
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::BF16, 2e-2)] {
        if dtype == DType::BF16 && !has_bf16(gpu) {
            continue;
        }
        let rounded: Vec<_> = arguments
            .iter()
            .map(|argument| match argument {
                Activation(x) => Activation(x.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()),
                Weight(x) => Weight(x.clone()),
                Fixed(x) => Fixed(x.clone()),
            })
            .collect();
        let expected = run(op, &rounded, &Device::Cpu, DType::F32);
        let found = run(op, &rounded, gpu, dtype);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.dims(), expected.dims(), "{what} {dtype:?}: tensor {i}");
            let (error, scale) = (largest(&(found - expected).unwrap()), largest(expected));
            assert!(error <= tolerance * scale, "{what} {dtype:?}: tensor {i} is off by {error} of {scale}");
        }
        let again = run(op, &rounded, gpu, dtype);
        for (found, again) in found.iter().zip(&again) {
            assert_eq!(largest(&(found - again).unwrap()).to_bits(), 0, "{what} {dtype:?}: another run, other bytes");
        }
    }
}

fn noise(seed: u64, dims: &[usize]) -> Tensor {
    Random(seed).tensor(dims, 1.0)
}

#[test]
fn convolutions() {
    let Some(gpu) = gpu() else { return };
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
            assert_same(&gpu, &what, &|x| ops::conv2d(&x[0], &x[1], &x[2], &config), &arguments);
        }
    }
}

#[test]
fn instance_norms() {
    let Some(gpu) = gpu() else { return };
    for (channels, height, width) in [(3, 5, 7), (32, 64, 64), (2, 200, 211)] {
        for relu in [false, true] {
            let config = InstanceNorm { relu, ..InstanceNorm::default() };
            let dims = [2, channels, height, width];
            let mut arguments =
                vec![Activation(noise(1, &dims)), Weight(noise(2, &[channels])), Weight(noise(3, &[channels]))];
            let what = format!("instance_norm {dims:?} {config:?}");
            let plain = |x: &[Tensor]| ops::instance_norm(&x[0], &x[1], &x[2], None, &config);
            assert_same(&gpu, &what, &plain, &arguments);
            arguments.push(Activation(noise(4, &dims)));
            let residual = |x: &[Tensor]| ops::instance_norm(&x[0], &x[1], &x[2], Some(&x[3]), &config);
            assert_same(&gpu, &format!("{what} with a residual"), &residual, &arguments);
        }
    }
}

#[test]
fn pools_grams_differences_and_warps() {
    let Some(gpu) = gpu() else { return };
    let picture = |seed| Activation(noise(seed, &[2, 16, 33, 40]));
    assert_same(&gpu, "max_pool2d", &|x| ops::max_pool2d(&x[0]), &[picture(1)]);
    assert_same(&gpu, "gram", &|x| ops::gram(&x[0]), &[picture(2)]);
    assert_same(&gpu, "mse", &|x| ops::mse(&x[0], &x[1]), &[picture(3), picture(4)]);
    assert_same(&gpu, "total_variation", &|x| ops::total_variation(&x[0]), &[picture(5)]);
    let positions = (noise(6, &[2, 2, 30, 31]) * 25.0).unwrap();
    assert_same(&gpu, "warp", &|x| ops::warp(&x[0], &x[1]), &[picture(7), Fixed((positions + 16.0).unwrap())]);
    let xs = noise(8, &[2, 16, 33, 40]);
    let mean = |xs: &Tensor| ops::mean_square(xs).unwrap().to_scalar::<f32>().unwrap();
    let (found, expected) = (mean(&xs.to_device(&gpu).unwrap()), mean(&xs));
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn adam_and_the_norm_of_the_gradient() {
    let Some(gpu) = gpu() else { return };
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
    for (found, expected) in all(&gpu).iter().zip(&all(&Device::Cpu)) {
        let error = largest(&(found - expected).unwrap());
        assert!(error <= 1e-5 * largest(expected), "off by {error}");
    }
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
    let floor = expected[1..].iter().map(largest).fold(0.0, f32::max) * 1e-3;
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = largest(&(found - expected).unwrap());
        // Biases before a normalisation have no gradient but rounding: no scale of their own.
        assert!(error <= 1e-3 * largest(expected).max(floor), "tensor {i} is off by {error}");
    }
}
