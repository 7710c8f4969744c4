//! Maximum pooling as the VGG networks use it.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::values;
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use impasto_kernels::gpu::pool as kernels;
use impasto_kernels::pool;

/// The maximum of every 2x2 block of `xs` `(batch, channels, height, width)`; an odd last row or column is dropped.
///
/// Differentiable; on a tie the gradient goes to the first maximum in reading order, as in PyTorch.
///
/// # Errors
///
/// If `xs` is not four-dimensional or smaller than 2x2.
pub fn max_pool2d(xs: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = xs.dims4()?;
    if height < 2 || width < 2 {
        bail!("cannot pool a {height}x{width} picture")
    }
    xs.contiguous()?.apply_op1(Forward)
}

struct Forward;

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "max-pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(self.name(), storage, layout)?;
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let pooled = (height / 2) * (width / 2);
        let mut ys = vec![0.; batch * channels * pooled];
        ys.par_chunks_mut(pooled).zip(xs.par_chunks(height * width)).for_each(|(ys, xs)| pool::forward(xs, width, ys));
        Ok((CpuStorage::F32(ys), (batch, channels, height / 2, width / 2).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(storage);
        let (xs, value) = gpu.input(storage, layout)?;
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let (ys, place) = gpu.output(batch * channels * (height / 2) * (width / 2), value)?;
        kernels::forward(&gpu, value, (batch * channels, height, width), [xs, place])?;
        Ok((ys, (batch, channels, height / 2, width / 2).into()))
    }

    fn bwd(&self, xs: &Tensor, _ys: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        xs.apply_op2_no_bwd(&dy.contiguous()?, &Gradient).map(Some)
    }
}

/// From `xs` and the gradient of its maxima, computes the gradient of `xs`. Finding the maxima again is cheaper than storing
/// their positions.
struct Gradient;

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "max-pool2d-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (xs, dy) = (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?);
        let (_, _, height, width) = l1.shape().dims4()?;
        let (plane, pooled) = (height * width, (height / 2) * (width / 2));
        let mut dx = vec![0.; xs.len()];
        dx.par_chunks_mut(plane)
            .zip(xs.par_chunks(plane))
            .zip(dy.par_chunks(pooled))
            .for_each(|((dx, xs), dy)| pool::backward(xs, dy, width, dx));
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let (value, [xs, dy]) = cuda::places(&gpu, [(s1, l1), (s2, l2)])?;
        let (batch, channels, height, width) = l1.shape().dims4()?;
        let (dx, place) = gpu.output(l1.shape().elem_count(), value)?;
        kernels::backward(&gpu, value, (batch * channels, height, width), [xs, dy, place])?;
        Ok((dx, l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{assert_matches, assert_thread_counts_agree, flat, noise};
    use super::*;

    #[test]
    fn blocks_give_their_maxima_and_an_odd_border_is_dropped() {
        let xs = Tensor::new(&[[[[1f32, 2., 5., 6., 99.], [4., 3., 8., 7., 99.], [99.; 5]]]], &Device::Cpu).unwrap();
        let ys = max_pool2d(&xs).unwrap();
        assert_eq!(ys.dims(), [1, 1, 1, 2]);
        assert_eq!(flat(&ys), [4., 8.]);
    }

    #[test]
    fn a_tie_sends_the_gradient_to_the_first_maximum() {
        let blocks = [[[[7f32, 7.], [7., 7.]]], [[[0., 7.], [7., 7.]]], [[[0., 1.], [7., 7.]]], [[[0., 1.], [2., 7.]]]];
        let xs = Var::new(&blocks, &Device::Cpu).unwrap();
        let gradients = max_pool2d(&xs).unwrap().sum_all().unwrap().backward().unwrap();
        let expected = [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
        assert_eq!(flat(gradients.get(&xs).unwrap()), expected.concat());
    }

    /// Candle's own `max_pool2d` cannot be the reference, because its gradient is too small by a factor of four.
    fn composition(xs: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = xs.dims4()?;
        let blocks = xs.contiguous()?.reshape((batch * channels, height / 2, 2, width / 2, 2))?;
        blocks.max(4)?.max(2)?.reshape((batch, channels, height / 2, width / 2))
    }

    #[test]
    fn results_and_gradients_equal_those_of_candles_operations() {
        for shape in [(2, 3, 4, 6), (1, 2, 2, 2), (1, 1, 8, 130)] {
            assert_matches(|xs| max_pool2d(&xs[0]), |xs| composition(&xs[0]), &[noise(shape, 1)], 1e-6);
        }
    }

    #[test]
    fn an_odd_border_gets_no_gradient() {
        let even = |xs: &Tensor| xs.narrow(2, 0, 4)?.narrow(3, 0, 6);
        let oracle = |xs: &[Tensor]| composition(&even(&xs[0])?);
        assert_matches(|xs| max_pool2d(&xs[0]), oracle, &[noise((2, 2, 5, 7), 1)], 1e-6);
        // A strided view gives the same result as a contiguous copy.
        assert_matches(|xs| max_pool2d(&even(&xs[0])?), oracle, &[noise((2, 2, 5, 7), 1)], 1e-6);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        assert_thread_counts_agree(|xs| max_pool2d(&xs[0]), &[noise((3, 5, 33, 34), 1)]);
    }

    #[test]
    fn a_picture_of_one_row_is_refused() {
        assert!(max_pool2d(&noise((1, 1, 1, 8), 0)).is_err());
    }
}
