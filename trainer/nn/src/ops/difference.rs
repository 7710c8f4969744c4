//! Mean squared differences: between two tensors, and between neighbouring pixels of a picture.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{if_tracked, values};
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use impasto_kernels::gpu::{Value, difference as cuda_kernels};
use impasto_kernels::{difference, sums::CHUNK};

/// The mean squared difference between `a` and `b`, which have the same shape, as a scalar: `sum (a - b)^2 / elements`.
///
/// Differentiable in both.
///
/// # Errors
///
/// If the shapes differ, or the tensors are empty.
pub fn mse(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() || a.elem_count() == 0 {
        bail!("cannot compare {:?} with {:?}", a.shape(), b.shape())
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, Mse)
}

/// The mean of the squares of `xs` as a scalar, f32 for any type of `xs`. Not differentiable.
///
/// # Errors
///
/// If `xs` is empty.
pub fn mean_square(xs: &Tensor) -> Result<Tensor> {
    if xs.elem_count() == 0 {
        bail!("cannot compute the mean of an empty tensor: {:?}", xs.shape())
    }
    xs.contiguous()?.apply_op1_no_bwd(&MeanSquare)
}

struct MeanSquare;

impl CustomOp1 for MeanSquare {
    fn name(&self) -> &'static str {
        "mean-square"
    }

    /// The same arithmetic as candle's own operations, so that trainings give the same bytes as before.
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let squares = Tensor::from_slice(values(self.name(), storage, layout)?, layout.shape(), &Device::Cpu)?.sqr()?;
        Ok((CpuStorage::F32(vec![squares.mean_all()?.to_scalar()?]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(storage);
        let (xs, value) = gpu.input(storage, layout)?;
        let (mean, place) = gpu.output(1, Value::F32)?;
        cuda_kernels::mean_square(&gpu, value, layout.shape().elem_count(), (xs, None), place)?;
        Ok((mean, ().into()))
    }
}

struct Mse;

impl CustomOp2 for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?);
        let parts: Vec<f64> =
            a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(|(a, b)| difference::squared_distance(a, b)).collect();
        Ok((scalar(parts, a.len()), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let (value, [a, b]) = cuda::places(&gpu, [(s1, l1), (s2, l2)])?;
        let (mean, place) = gpu.output(1, Value::F32)?;
        cuda_kernels::mean_square(&gpu, value, l1.shape().elem_count(), (a, Some(b)), place)?;
        Ok((mean, ().into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _mse: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let da = if_tracked(a, || a.apply_op3_no_bwd(b, gradient, &MseGradient))?;
        let db = if_tracked(b, || match &da {
            Some(da) => da.neg(),
            None => b.apply_op3_no_bwd(a, gradient, &MseGradient),
        })?;
        Ok((da, db))
    }
}

/// From `a`, `b` and the gradient of their mean squared difference, computes the gradient of `a`.
struct MseGradient;

impl CustomOp3 for MseGradient {
    fn name(&self) -> &'static str {
        "mse-gradient"
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
        let (a, b) = (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?);
        let factor = 2. * values(self.name(), s3, l3)?[0] / a.len() as f32;
        let mut da = vec![0.; a.len()];
        da.par_chunks_mut(CHUNK)
            .zip(a.par_chunks(CHUNK))
            .zip(b.par_chunks(CHUNK))
            .for_each(|((da, a), b)| difference::scaled_difference(a, b, factor, da));
        Ok((CpuStorage::F32(da), l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let (value, [a, b]) = cuda::places(&gpu, [(s1, l1), (s2, l2)])?;
        let gradient = cuda::floats(&gpu, s3, l3)?;
        let count = l1.shape().elem_count();
        let (da, place) = gpu.output(count, value)?;
        cuda_kernels::scaled_difference(&gpu, value, count, [a, b, gradient], 2. / count as f64, place)?;
        Ok((da, l1.shape().clone()))
    }
}

/// The total variation of `xs` `(batch, channels, height, width)` as a scalar: squared differences between horizontal and
/// between vertical neighbours, summed and divided by the number of elements of `xs`:
/// `(sum (x[i, j + 1] - x[i, j])^2 + sum (x[i + 1, j] - x[i, j])^2) / (batch channels height width)`.
///
/// Johnson et al. (2016) smooth with this squared, anisotropic form, as Mahendran and Vedaldi (2015) do for beta = 2. Because
/// of the division, its weight has the same meaning for every picture size. Differentiable.
///
/// # Errors
///
/// If `xs` is not four-dimensional or empty.
pub fn total_variation(xs: &Tensor) -> Result<Tensor> {
    xs.dims4()?;
    if xs.elem_count() == 0 {
        bail!("cannot compute the total variation of an empty picture: {:?}", xs.shape())
    }
    xs.contiguous()?.apply_op1(TotalVariation)
}

struct TotalVariation;

impl CustomOp1 for TotalVariation {
    fn name(&self) -> &'static str {
        "total-variation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(self.name(), storage, layout)?;
        let (_, _, height, width) = layout.shape().dims4()?;
        let parts: Vec<f64> = xs.par_chunks(height * width).map(|xs| difference::variation(xs, width)).collect();
        Ok((scalar(parts, xs.len()), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(storage);
        let (xs, value) = gpu.input(storage, layout)?;
        let (_, _, height, width) = layout.shape().dims4()?;
        let (variation, place) = gpu.output(1, Value::F32)?;
        cuda_kernels::variation(&gpu, value, (layout.shape().elem_count(), height, width), xs, place)?;
        Ok((variation, ().into()))
    }

    fn bwd(&self, xs: &Tensor, _variation: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        xs.apply_op2_no_bwd(gradient, &TotalVariationGradient).map(Some)
    }
}

/// From `xs` and the gradient of its total variation, computes the gradient of `xs`.
struct TotalVariationGradient;

impl CustomOp2 for TotalVariationGradient {
    fn name(&self) -> &'static str {
        "total-variation-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(self.name(), s1, l1)?;
        let (_, _, height, width) = l1.shape().dims4()?;
        let plane = height * width;
        let factor = 2. * values(self.name(), s2, l2)?[0] / xs.len() as f32;
        let mut dx = vec![0.; xs.len()];
        dx.par_chunks_mut(plane)
            .zip(xs.par_chunks(plane))
            .for_each(|(dx, xs)| difference::variation_gradient(xs, width, factor, dx));
        Ok((CpuStorage::F32(dx), l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let (xs, value) = gpu.input(s1, l1)?;
        let gradient = cuda::floats(&gpu, s2, l2)?;
        let (_, _, height, width) = l1.shape().dims4()?;
        let count = l1.shape().elem_count();
        let (dx, place) = gpu.output(count, value)?;
        cuda_kernels::variation_gradient(&gpu, value, (count, height, width), [xs, gradient], place)?;
        Ok((dx, l1.shape().clone()))
    }
}

/// Adds partial sums in order and divides the sum by `elements`.
fn scalar(parts: Vec<f64>, elements: usize) -> CpuStorage {
    CpuStorage::F32(vec![(parts.iter().sum::<f64>() / elements as f64) as f32])
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{assert_matches, assert_thread_counts_agree, flat, noise};
    use super::*;

    #[test]
    fn mse_of_a_hand_made_case() {
        let a = Var::new(&[1f32, 2., 3., 4.], &Device::Cpu).unwrap();
        let b = Tensor::new(&[1f32, 0., 6., 4.], &Device::Cpu).unwrap();
        let mse = mse(&a, &b).unwrap();
        assert_eq!(flat(&mse), [(4. + 9.) / 4.]);
        let gradients = mse.backward().unwrap();
        assert_eq!(flat(gradients.get(&a).unwrap()), [0., 1., -1.5, 0.]);
        assert!(gradients.get(&b).is_none());
    }

    #[test]
    fn mse_and_its_gradients_equal_those_of_candles_operations() {
        for shape in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 200, 201)] {
            let inputs = [noise(shape, 1), noise(shape, 2)];
            let oracle = |xs: &[Tensor]| (&xs[0] - &xs[1])?.sqr()?.mean_all();
            assert_matches(|xs| mse(&xs[0], &xs[1]), oracle, &inputs, 1e-5);
        }
    }

    #[test]
    fn either_side_of_mse_may_be_constant() {
        let (a, b) = (noise((2, 3), 1), Var::from_tensor(&noise((2, 3), 2)).unwrap());
        let gradients = mse(&a, &b).unwrap().backward().unwrap();
        let expected = ((b.as_tensor() - &a).unwrap() * (2. / 6.)).unwrap();
        assert!(mse(gradients.get(&b).unwrap(), &expected).unwrap().to_scalar::<f32>().unwrap() < 1e-12);
    }

    #[test]
    fn mse_of_a_long_tensor_keeps_its_precision() {
        let (a, b) = (Tensor::full(3000f32, 1 << 22, &Device::Cpu), Tensor::full(2999.9f32, 1 << 22, &Device::Cpu));
        let found = mse(&a.unwrap(), &b.unwrap()).unwrap().to_scalar::<f32>().unwrap();
        let difference = 3000f32 - 2999.9;
        assert!((found / (difference * difference) - 1.).abs() < 1e-6, "{found}");
    }

    #[test]
    fn variation_of_a_hand_made_case() {
        let xs = Var::new(&[[[[1f32, 3.], [2., 7.]]]], &Device::Cpu).unwrap();
        let variation = total_variation(&xs).unwrap();
        assert_eq!(flat(&variation), [(4. + 25. + 1. + 16.) / 4.]);
        let gradients = variation.backward().unwrap();
        assert_eq!(flat(gradients.get(&xs).unwrap()), [-1.5, -1., -2., 4.5]);
    }

    #[test]
    fn variation_and_its_gradient_equal_those_of_candles_operations() {
        let oracle = |xs: &[Tensor]| {
            let (_, _, h, w) = xs[0].dims4()?;
            let steps = |dim, len| xs[0].narrow(dim, 1, len - 1)? - xs[0].narrow(dim, 0, len - 1)?;
            (steps(2, h)?.sqr()?.sum_all()? + steps(3, w)?.sqr()?.sum_all()?)? / xs[0].elem_count() as f64
        };
        for shape in [(2, 3, 5, 7), (1, 1, 2, 2), (1, 3, 80, 131)] {
            assert_matches(|xs| total_variation(&xs[0]), oracle, &[noise(shape, 1)], 1e-5);
        }
    }

    #[test]
    fn a_picture_one_pixel_wide_varies_along_its_height_only() {
        let xs = noise((1, 2, 9, 1), 1);
        let upright = flat(&total_variation(&xs).unwrap());
        assert_eq!(flat(&total_variation(&xs.transpose(2, 3).unwrap()).unwrap()), upright);
        assert!(upright[0] > 0.);
        assert_eq!(flat(&total_variation(&noise((1, 1, 1, 1), 1)).unwrap()), [0.]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        assert_thread_counts_agree(|xs| mse(&xs[0], &xs[1]), &[noise((3, 300, 301), 1), noise((3, 300, 301), 2)]);
        assert_thread_counts_agree(|xs| total_variation(&xs[0]), &[noise((2, 3, 90, 91), 1)]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(mse(&noise(3, 0), &noise(4, 0)).is_err());
        assert!(mse(&noise(0, 0), &noise(0, 0)).is_err());
        assert!(total_variation(&noise((3, 3, 3), 0)).is_err());
    }
}
