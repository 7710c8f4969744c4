//! Instance normalisation (Ulyanov et al., 2016), fused with the affine transform, ReLU and residual addition that follow it.
//!
//! With fusion, a plane is read once and written once, and the graph keeps only the input. PyTorch also keeps the input of the
//! ReLU. The backward pass recomputes the statistics and the ReLU mask, which costs less than keeping them.

#[cfg(feature = "cuda")]
mod cuda;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{if_tracked, values};
use impasto_kernels::norm;

/// The parameters of the normalisation and of the ReLU after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceNorm {
    /// Added to the variance. Default: 1e-5, as in PyTorch.
    pub epsilon: f64,
    /// Whether negative results become zero (before the residual is added). Default: no.
    pub relu: bool,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, relu: false }
    }
}

/// Normalises every channel of every picture of `xs` `(batch, channels, height, width)` to mean 0 and variance 1 (biased),
/// scales by `weight` and adds `bias` (both `(channels)`), rectifies if configured, and adds `residual` (shaped like `xs`).
///
/// Differentiable in all four.
///
/// # Errors
///
/// If the shapes do not match.
pub fn instance_norm(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    config: &InstanceNorm,
) -> Result<Tensor> {
    let (_, channels, height, width) = xs.dims4()?;
    if height * width == 0 {
        bail!("cannot normalise an empty picture: {:?}", xs.shape())
    }
    if weight.dims1()? != channels || bias.dims1()? != channels {
        bail!("cannot scale {channels} channels by {:?} and shift them by {:?}", weight.shape(), bias.shape())
    }
    let xs = xs.contiguous()?;
    // Weight and bias are one tensor, so that a ternary op can also take the residual.
    let affine = Tensor::stack(&[weight, bias], 0)?;
    #[cfg(feature = "cuda")]
    let stats = cuda::stats(&xs, &affine, config)?;
    let op = Forward {
        config: *config,
        #[cfg(feature = "cuda")]
        stats,
    };
    match residual {
        None => xs.apply_op2(&affine, op),
        Some(residual) if residual.dims() == xs.dims() => xs.apply_op3(&affine, &residual.contiguous()?, op),
        Some(residual) => bail!("cannot add a residual of {:?} to {:?}", residual.shape(), xs.shape()),
    }
}

impl InstanceNorm {
    /// The parameters of one channel. `affine` contains all weights, then all biases.
    fn channel(&self, affine: &[f32], channel: usize) -> norm::Affine {
        let bias = affine[affine.len() / 2 + channel];
        norm::Affine { weight: affine[channel], bias, epsilon: self.epsilon, relu: self.relu }
    }
}

/// The op on `xs`, `affine` `(2, channels)` and an optional residual.
struct Forward {
    config: InstanceNorm,
    /// On a GPU, the statistics of every plane, kept for the gradient. Reading the planes again would cost more than storing
    /// them.
    #[cfg(feature = "cuda")]
    stats: Option<Tensor>,
}

impl Forward {
    fn run(&self, xs: &[f32], affine: &[f32], residual: Option<&[f32]>, shape: &Shape) -> Result<CpuStorage> {
        let (_, channels, height, width) = shape.dims4()?;
        let plane = height * width;
        let mut ys = vec![0.; xs.len()];
        ys.par_chunks_mut(plane).zip(xs.par_chunks(plane)).enumerate().for_each(|(i, (ys, xs))| {
            let residual = residual.map(|residual| &residual[i * plane..][..plane]);
            norm::forward(xs, residual, &self.config.channel(affine, i % channels), ys);
        });
        Ok(CpuStorage::F32(ys))
    }

    /// The gradients of `xs` and `affine`, if they are needed.
    fn gradients(&self, xs: &Tensor, affine: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if let Some(stats) = &self.stats {
            return cuda::gradients(&self.config, xs, affine, dy, stats);
        }
        let op = Gradient { config: self.config, input: xs.track_op() };
        let packed = xs.apply_op3_no_bwd(affine, &dy.contiguous()?, &op)?;
        let parameters = affine.elem_count();
        let inputs = packed.elem_count() - parameters;
        let dx = if_tracked(xs, || packed.narrow(0, 0, inputs)?.reshape(xs.shape()))?;
        let d_affine = if_tracked(affine, || packed.narrow(0, inputs, parameters)?.reshape(affine.shape()))?;
        Ok((dx, d_affine))
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "instance-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp2::name(self);
        let ys = self.run(values(name, s1, l1)?, values(name, s2, l2)?, None, l1.shape())?;
        Ok((ys, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::forward(&self.config, (s1, l1), None, self.stats.as_ref())
    }

    fn bwd(&self, xs: &Tensor, affine: &Tensor, _ys: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(xs, affine, dy)
    }
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "instance-norm-residual"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp3::name(self);
        let residual = values(name, s3, l3)?;
        let ys = self.run(values(name, s1, l1)?, values(name, s2, l2)?, Some(residual), l1.shape())?;
        Ok((ys, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        _: &CudaStorage,
        _: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::forward(&self.config, (s1, l1), Some((s3, l3)), self.stats.as_ref())
    }

    fn bwd(
        &self,
        xs: &Tensor,
        affine: &Tensor,
        residual: &Tensor,
        _ys: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, d_affine) =
            if xs.track_op() || affine.track_op() { self.gradients(xs, affine, dy)? } else { (None, None) };
        Ok((dx, d_affine, if_tracked(residual, || Ok(dy.clone()))?))
    }
}

/// From `xs`, `affine` and the gradient of the result, computes one flat tensor: the gradient of `xs` (if `input`), of the
/// weights and of the biases. They are one tensor because an op has only one result, and all need the same sums.
struct Gradient {
    config: InstanceNorm,
    input: bool,
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "instance-norm-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (xs, affine, dy) =
            (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?, values(self.name(), s3, l3)?);
        let (_, channels, height, width) = l1.shape().dims4()?;
        let plane = height * width;
        let inputs = if self.input { xs.len() } else { 0 };
        let mut packed = vec![0.; inputs + affine.len()];
        let (dx, d_affine) = packed.split_at_mut(inputs);
        let planes = xs.par_chunks(plane).zip(dy.par_chunks(plane)).enumerate();
        let run = |i: usize, xs, dy, dx| norm::backward(xs, dy, &self.config.channel(affine, i % channels), dx);
        let sums: Vec<(f64, f64)> = if self.input {
            planes.zip(dx.par_chunks_mut(plane)).map(|((i, (xs, dy)), dx)| run(i, xs, dy, Some(dx))).collect()
        } else {
            planes.map(|(i, (xs, dy))| run(i, xs, dy, None)).collect()
        };
        let (d_weight, d_bias) = d_affine.split_at_mut(channels);
        for channel in 0..channels {
            let of_channel = || sums.iter().skip(channel).step_by(channels);
            d_weight[channel] = of_channel().map(|sum| sum.0).sum::<f64>() as f32;
            d_bias[channel] = of_channel().map(|sum| sum.1).sum::<f64>() as f32;
        }
        let len = packed.len();
        Ok((CpuStorage::F32(packed), len.into()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{assert_matches, assert_thread_counts_agree, flat, noise};
    use super::*;

    fn composition(inputs: &[Tensor], config: &InstanceNorm) -> Result<Tensor> {
        let xs = &inputs[0];
        let centred = xs.broadcast_sub(&xs.mean_keepdim((2, 3))?)?;
        let deviation = (centred.sqr()?.mean_keepdim((2, 3))? + config.epsilon)?.sqrt()?;
        let ys = centred.broadcast_div(&deviation)?.broadcast_mul(&inputs[1].reshape((1, (), 1, 1))?)?;
        let ys = ys.broadcast_add(&inputs[2].reshape((1, (), 1, 1))?)?;
        let ys = if config.relu { ys.relu()? } else { ys };
        if inputs.len() > 3 { ys + &inputs[3] } else { Ok(ys) }
    }

    fn ours(inputs: &[Tensor], config: &InstanceNorm) -> Result<Tensor> {
        instance_norm(&inputs[0], &inputs[1], &inputs[2], inputs.get(3), config)
    }

    fn inputs(shape: (usize, usize, usize, usize), residual: bool) -> Vec<Tensor> {
        let mut inputs = vec![noise(shape, 1), noise(shape.1, 2), noise(shape.1, 3)];
        inputs.extend(residual.then(|| noise(shape, 4)));
        inputs
    }

    #[test]
    fn two_pixels_become_plus_and_minus_one() {
        let xs = Tensor::new(&[[[[1f32, 3.]]]], &Device::Cpu).unwrap();
        let [weight, bias] = [2f32, 0.5].map(|value| Tensor::new(&[value], &Device::Cpu).unwrap());
        let config = InstanceNorm { epsilon: 0., relu: false };
        assert_eq!(flat(&instance_norm(&xs, &weight, &bias, None, &config).unwrap()), [-1.5, 2.5]);
        let config = InstanceNorm { relu: true, ..config };
        assert_eq!(flat(&instance_norm(&xs, &weight, &bias, None, &config).unwrap()), [0., 2.5]);
        assert_eq!(flat(&instance_norm(&xs, &weight, &bias, Some(&xs), &config).unwrap()), [1., 5.5]);
    }

    #[test]
    fn results_and_gradients_equal_those_of_candles_operations() {
        for shape in [(2, 3, 5, 7), (1, 4, 1, 3), (3, 2, 64, 65), (1, 1, 90, 100)] {
            for relu in [false, true] {
                for residual in [false, true] {
                    let config = InstanceNorm { relu, ..InstanceNorm::default() };
                    let inputs = inputs(shape, residual);
                    assert_matches(|xs| ours(xs, &config), |xs| composition(xs, &config), &inputs, 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_plane_of_one_pixel_becomes_the_bias_and_has_no_gradient() {
        let inputs = inputs((2, 3, 1, 1), false);
        let xs = Var::from_tensor(&inputs[0]).unwrap();
        let ys = instance_norm(&xs, &inputs[1], &inputs[2], None, &InstanceNorm::default()).unwrap();
        assert_eq!(flat(&ys.get(1).unwrap()), flat(&inputs[2]));
        let gradients = ys.sum_all().unwrap().backward().unwrap();
        assert_eq!(flat(gradients.get(&xs).unwrap()), [0.; 6]);
    }

    #[test]
    fn views_are_read_through_their_layout() {
        let inputs = inputs((2, 3, 6, 4), false);
        let config = InstanceNorm::default();
        let view = |xs: &Tensor| xs.transpose(2, 3)?.narrow(2, 1, 3);
        let on_view = |xs: &[Tensor]| instance_norm(&view(&xs[0])?, &xs[1], &xs[2], None, &config);
        let oracle = |xs: &[Tensor]| composition(&[view(&xs[0])?, xs[1].clone(), xs[2].clone()], &config);
        assert_matches(on_view, oracle, &inputs, 1e-5);
    }

    #[test]
    fn frozen_arguments_get_no_gradient() {
        let inputs = inputs((1, 2, 4, 4), true);
        for wanted in 0..4 {
            let variable = Var::from_tensor(&inputs[wanted]).unwrap();
            let mut inputs = inputs.clone();
            inputs[wanted] = variable.as_tensor().clone();
            let gradients = ours(&inputs, &InstanceNorm::default()).unwrap().sqr().unwrap().backward().unwrap();
            assert!(gradients.get(&variable).is_some());
            for (i, input) in inputs.iter().enumerate() {
                assert!(i == wanted || gradients.get(input).is_none(), "{i} beside {wanted}");
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let config = InstanceNorm { relu: true, ..InstanceNorm::default() };
        assert_thread_counts_agree(|xs| ours(xs, &config), &inputs((3, 5, 70, 71), true));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let xs = noise((1, 3, 4, 4), 0);
        let (three, four) = (noise(3, 0), noise(4, 0));
        let config = InstanceNorm::default();
        assert!(instance_norm(&xs, &four, &three, None, &config).is_err());
        assert!(instance_norm(&xs, &three, &four, None, &config).is_err());
        assert!(instance_norm(&xs, &three, &three, Some(&noise((1, 3, 4, 5), 0)), &config).is_err());
        assert!(instance_norm(&noise((1, 3, 0, 4), 0), &three, &three, None, &config).is_err());
    }
}
