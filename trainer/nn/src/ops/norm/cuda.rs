//! Instance normalisation on a GPU: computes statistics, which forward and backward pass share, and then applies them.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor, bail,
};

use super::super::cpu::if_tracked;
use super::super::cuda::{floats, floats_of, gpu, places};
use super::InstanceNorm;
use impasto_kernels::gpu::Value;
use impasto_kernels::gpu::norm::Norm;

fn norm(config: &InstanceNorm, value: Value, shape: &Shape) -> Result<Norm> {
    let (batch, channels, height, width) = shape.dims4()?;
    Ok(Norm { value, batch, channels, plane: height * width, epsilon: config.epsilon, relu: config.relu })
}

fn only_here<T>() -> Result<T> {
    bail!("this op runs only on a GPU")
}

/// Mean, scale, weight and bias of every plane of `xs`, f32; `None` on the CPU.
pub(super) fn stats(xs: &Tensor, affine: &Tensor, config: &InstanceNorm) -> Result<Option<Tensor>> {
    xs.device().is_cuda().then(|| xs.apply_op2_no_bwd(affine, &Stats(*config))).transpose()
}

struct Stats(InstanceNorm);

impl CustomOp2 for Stats {
    fn name(&self) -> &'static str {
        "instance-norm-statistics"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        only_here()
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu(s1);
        let ((xs, value), affine) = (gpu.input(s1, l1)?, floats(&gpu, s2, l2)?);
        let norm = norm(&self.0, value, l1.shape())?;
        let (stats, place) = gpu.output(norm.stats_len(), Value::F32)?;
        norm.stats(&gpu, [xs, affine], place)?;
        Ok((stats, norm.stats_len().into()))
    }
}

/// Normalises `xs` by its statistics and adds the residual, if there is one.
pub(super) fn forward(
    config: &InstanceNorm,
    xs: (&CudaStorage, &Layout),
    residual: Option<(&CudaStorage, &Layout)>,
    stats: Option<&Tensor>,
) -> Result<(CudaStorage, Shape)> {
    let gpu = gpu(xs.0);
    let stats = stats.ok_or_else(|| Error::msg("the statistics are missing"))?;
    let (value, [place, residual]) = match residual {
        Some(residual) => places(&gpu, [xs, residual]).map(|(value, [xs, added])| (value, [Some(xs), Some(added)]))?,
        None => places(&gpu, [xs]).map(|(value, [xs])| (value, [Some(xs), None]))?,
    };
    let place = place.ok_or_else(|| Error::msg("the argument is missing"))?;
    let norm = norm(config, value, xs.1.shape())?;
    let (ys, result) = gpu.output(xs.1.shape().elem_count(), value)?;
    norm.normalise(&gpu, [place, floats_of(&gpu, stats)?], residual, result)?;
    Ok((ys, xs.1.shape().clone()))
}

/// The gradients of `xs` and `affine`, if they are needed.
pub(super) fn gradients(
    config: &InstanceNorm,
    xs: &Tensor,
    affine: &Tensor,
    dy: &Tensor,
    stats: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let dy = dy.contiguous()?;
    let sums = xs.apply_op3_no_bwd(&dy, stats, &Sums(*config))?;
    let input = InputGradient { config: *config, stats: stats.clone() };
    let dx = if_tracked(xs, || xs.apply_op3_no_bwd(&dy, &sums, &input))?;
    let (batch, channels, _, _) = xs.dims4()?;
    Ok((dx, if_tracked(affine, || sums.apply_op1_no_bwd(&AffineGradient { batch, channels }))?))
}

/// From `xs`, the result's gradient and the statistics, computes the two sums per plane that all gradients need.
struct Sums(InstanceNorm);

impl CustomOp3 for Sums {
    fn name(&self) -> &'static str {
        "instance-norm-sums"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_here()
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu(s1);
        let (value, [xs, dy]) = places(&gpu, [(s1, l1), (s2, l2)])?;
        let stats = floats(&gpu, s3, l3)?;
        let norm = norm(&self.0, value, l1.shape())?;
        let (sums, place) = gpu.output(norm.sums_len(), Value::F32)?;
        norm.sums(&gpu, [xs, dy, stats], place)?;
        Ok((sums, norm.sums_len().into()))
    }
}

/// From `xs`, the result's gradient and [`Sums`], computes the gradient of `xs`.
struct InputGradient {
    config: InstanceNorm,
    stats: Tensor,
}

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        "instance-norm-input-gradient"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_here()
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu(s1);
        let (value, [xs, dy]) = places(&gpu, [(s1, l1), (s2, l2)])?;
        let (stats, sums) = (floats_of(&gpu, &self.stats)?, floats(&gpu, s3, l3)?);
        let (dx, place) = gpu.output(l1.shape().elem_count(), value)?;
        norm(&self.config, value, l1.shape())?.input_gradient(&gpu, [xs, dy, stats, sums], place)?;
        Ok((dx, l1.shape().clone()))
    }
}

/// From [`Sums`], computes the gradient of `affine`.
struct AffineGradient {
    batch: usize,
    channels: usize,
}

impl CustomOp1 for AffineGradient {
    fn name(&self) -> &'static str {
        "instance-norm-affine-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        only_here()
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = gpu(storage);
        let sums = floats(&gpu, storage, layout)?;
        let &Self { batch, channels } = self;
        let norm = Norm { value: Value::F32, batch, channels, plane: 1, epsilon: 0.0, relu: false };
        let (gradient, place) = gpu.output(2 * channels, Value::F32)?;
        norm.affine_gradient(&gpu, sums, place)?;
        Ok((gradient, (2, channels).into()))
    }
}
