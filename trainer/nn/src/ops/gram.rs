//! Gram matrices: the style representation of Gatys et al. (2015).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use impasto_kernels::gpu::{Value, gram as kernels};

/// `(batch, channels, channels)` inner products between the channels of `xs` `(batch, channels, height, width)`, summed
/// over positions and not normalised. f32 for any type of `xs`. Differentiable.
///
/// # Errors
///
/// If `xs` is not four-dimensional.
pub fn gram(xs: &Tensor) -> Result<Tensor> {
    xs.contiguous()?.flatten_from(2)?.apply_op1(Forward)
}

/// Computes Gram matrices `(batch, channels, channels)` from features `(batch, channels, positions)`.
struct Forward;

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, positions) = layout.shape().dims3()?;
        let size = (batch, channels, channels, positions);
        let grams = storage.matmul(storage, size, layout, &layout.transpose(1, 2)?)?;
        Ok((grams, (batch, channels, channels).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(storage);
        let (batch, channels, positions) = layout.shape().dims3()?;
        let (features, value) = gpu.input(storage, layout)?;
        let (grams, place) = gpu.output(batch * channels * channels, Value::F32)?;
        kernels::forward(&gpu, value, (batch, channels, positions), [features, place])?;
        Ok((grams, (batch, channels, channels).into()))
    }

    /// `(dG + dG^T) F` in one product; the backward pass of a plain matrix product would need two.
    fn bwd(&self, features: &Tensor, _grams: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let symmetric = (gradient + gradient.t()?)?;
        symmetric.to_dtype(features.dtype())?.apply_op2_no_bwd(features, &Gradient).map(Some)
    }
}

/// From `dG + dG^T` and the features, computes the gradient of the features.
struct Gradient;

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "gram-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, positions) = l2.shape().dims3()?;
        let gradient = s1.matmul(s2, (batch, channels, positions, channels), l1, l2)?;
        Ok((gradient, l2.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let (value, places) = cuda::places(&gpu, [(s1, l1), (s2, l2)])?;
        let (batch, channels, positions) = l2.shape().dims3()?;
        let (gradient, place) = gpu.output(l2.shape().elem_count(), value)?;
        kernels::backward(&gpu, value, (batch, channels, positions), places, place)?;
        Ok((gradient, l2.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{assert_matches, assert_thread_counts_agree, flat, noise};
    use super::*;

    #[test]
    fn gram_of_a_hand_made_case() {
        let xs = Var::new(&[[[[1f32, 2.]], [[3., 4.]]]], &Device::Cpu).unwrap();
        let grams = gram(&xs).unwrap();
        assert_eq!(grams.dims(), [1, 2, 2]);
        assert_eq!(flat(&grams), [5., 11., 11., 25.]);
        // The gradient of g11 + 10 g12 is 2 f1 + 10 f2 for the first channel, 10 f1 for the second.
        let weighting = Tensor::new(&[[[1f32, 10.], [0., 0.]]], &Device::Cpu).unwrap();
        let gradients = (grams * weighting).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(flat(gradients.get(&xs).unwrap()), [32., 44., 10., 20.]);
    }

    #[test]
    fn gram_of_a_constant_picture_has_rank_one() {
        let levels = Tensor::new(&[1f32, 2., 3.], &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let grams = gram(&levels.broadcast_as((1, 3, 5, 4)).unwrap()).unwrap();
        assert_eq!(flat(&grams), [1., 2., 3., 2., 4., 6., 3., 6., 9.].map(|product| 20. * product));
    }

    #[test]
    fn results_and_gradients_equal_those_of_candles_operations() {
        let oracle = |xs: &[Tensor]| xs[0].flatten_from(2)?.matmul(&xs[0].flatten_from(2)?.t()?);
        for shape in [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 31, 33), (1, 64, 70, 70)] {
            assert_matches(|xs| gram(&xs[0]), oracle, &[noise(shape, 1)], 1e-5);
        }
        let view = |xs: &Tensor| xs.transpose(2, 3)?.narrow(2, 1, 3);
        let oracle = |xs: &[Tensor]| oracle(&[view(&xs[0])?.contiguous()?]);
        assert_matches(|xs| gram(&view(&xs[0])?), oracle, &[noise((2, 3, 5, 7), 1)], 1e-5);
    }

    #[test]
    fn a_large_bright_picture_keeps_its_precision() {
        let xs = noise((1, 2, 1024, 1024), 1).affine(100., 3000.).unwrap();
        let exact = xs.flatten_from(2).unwrap().to_dtype(candle_core::DType::F64).unwrap();
        let exact = exact.matmul(&exact.t().unwrap()).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (found, exact) in flat(&gram(&xs).unwrap()).into_iter().zip(exact) {
            assert!((f64::from(found) / exact - 1.).abs() < 1e-5, "{found} for {exact}");
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        assert_thread_counts_agree(|xs| gram(&xs[0]), &[noise((2, 48, 40, 41), 1)]);
    }
}
