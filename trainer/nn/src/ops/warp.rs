//! Samples pictures at given positions: a differentiable warp.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::cpu::{if_tracked, values};
#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use impasto_kernels::gpu::warp as kernels;
use impasto_kernels::warp;

/// Samples `xs` `(batch, channels, height, width)` at `positions` `(batch, 2, rows, columns)`. A position is a row and a column,
/// in pixels of `xs` from the centre of its first pixel. The result is `(batch, channels, rows, columns)`.
///
/// Interpolation between pixels is cubic convolution, as in PyTorch's `grid_sample` with mode `bicubic`. (Linear interpolation
/// blurs, and a network trained towards blurred pictures learns to blur.) Outside the picture, the border pixels are repeated.
/// Differentiable in `xs`, but not in `positions`.
///
/// # Errors
///
/// If `xs` is not four-dimensional or empty, or the shape of `positions` does not match.
pub fn warp(xs: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = xs.dims4()?;
    if height == 0 || width == 0 {
        bail!("cannot sample an empty {height}x{width} picture")
    }
    match *positions.dims() {
        [pictures, 2, _, _] if pictures == batch => {}
        _ => bail!("cannot read {batch} pictures at positions {:?}", positions.shape()),
    }
    xs.contiguous()?.apply_op2(&positions.detach().contiguous()?, Warp)
}

struct Warp;

impl CustomOp2 for Warp {
    fn name(&self) -> &'static str {
        "warp"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (xs, positions) = (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?);
        let (batch, channels, height, width) = l1.shape().dims4()?;
        let (_, _, rows, columns) = l2.shape().dims4()?;
        let mut ys = vec![0.; batch * channels * rows * columns];
        if !ys.is_empty() {
            let planes = ys.par_chunks_mut(rows * columns).zip(xs.par_chunks(height * width)).enumerate();
            planes.for_each(|(plane, (ys, xs))| {
                let (rows, columns) = positions_of(positions, plane / channels, rows * columns);
                warp::forward(xs, (height, width), rows, columns, ys);
            });
        }
        Ok((CpuStorage::F32(ys), (batch, channels, rows, columns).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let ((xs, value), positions) = (gpu.input(s1, l1)?, cuda::floats(&gpu, s2, l2)?);
        let (batch, channels, height, width) = l1.shape().dims4()?;
        let (_, _, rows, columns) = l2.shape().dims4()?;
        let (ys, place) = gpu.output(batch * channels * rows * columns, value)?;
        let warp = kernels::Warp { value, batch, channels, size: (height, width), places: rows * columns };
        warp.forward(&gpu, [xs, positions], place)?;
        Ok((ys, (batch, channels, rows, columns).into()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        positions: &Tensor,
        _ys: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, height, width) = xs.dims4()?;
        let adjoint = Adjoint { height, width };
        Ok((if_tracked(xs, || dy.contiguous()?.apply_op2_no_bwd(positions, &adjoint))?, None))
    }
}

/// From the gradient of the samples and the positions, computes the gradient of a picture of this size.
///
/// Each plane is processed by one thread in a fixed order, so the bytes do not depend on the number of threads.
struct Adjoint {
    height: usize,
    width: usize,
}

impl CustomOp2 for Adjoint {
    fn name(&self) -> &'static str {
        "warp-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (dy, positions) = (values(self.name(), s1, l1)?, values(self.name(), s2, l2)?);
        let (batch, channels, rows, columns) = l1.shape().dims4()?;
        let size = (self.height, self.width);
        let mut dx = vec![0.; batch * channels * size.0 * size.1];
        if !dy.is_empty() {
            let planes = dx.par_chunks_mut(size.0 * size.1).zip(dy.par_chunks(rows * columns)).enumerate();
            planes.for_each(|(plane, (dx, dy))| {
                let (rows, columns) = positions_of(positions, plane / channels, rows * columns);
                warp::adjoint(dy, size, rows, columns, dx);
            });
        }
        Ok((CpuStorage::F32(dx), (batch, channels, size.0, size.1).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let gpu = cuda::gpu(s1);
        let ((dy, value), positions) = (gpu.input(s1, l1)?, cuda::floats(&gpu, s2, l2)?);
        let (batch, channels, rows, columns) = l1.shape().dims4()?;
        let size = (self.height, self.width);
        let (dx, place) = gpu.output(batch * channels * size.0 * size.1, value)?;
        let warp = kernels::Warp { value, batch, channels, size, places: rows * columns };
        warp.adjoint(&gpu, [dy, positions], place)?;
        Ok((dx, (batch, channels, size.0, size.1).into()))
    }
}

/// The rows and the columns at which one picture is sampled.
fn positions_of(positions: &[f32], picture: usize, count: usize) -> (&[f32], &[f32]) {
    positions[2 * picture * count..][..2 * count].split_at(count)
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Var};

    use super::super::testing::{assert_matches, assert_thread_counts_agree, flat, noise};
    use super::*;

    /// Positions all over a picture of `(height, width)` and up to three pixels outside.
    fn positions(batch: usize, (rows, columns): (usize, usize), (height, width): (usize, usize)) -> Tensor {
        let axis = |seed, size: usize| {
            let reach = size as f64 / 2. + 3.;
            noise((batch, 1, rows, columns), seed).affine(reach, (size as f64 - 1.) / 2.).unwrap()
        };
        Tensor::cat(&[axis(5, height), axis(6, width)], 1).unwrap()
    }

    #[test]
    fn whole_steps_move_a_picture_and_half_ones_weigh_four_pixels() {
        let xs = Var::new(&[[[[0f32, 1., 2., 4., 8.]]]], &Device::Cpu).unwrap();
        let columns = [1f32, 4., 9., 1.5];
        let places = Tensor::from_slice(&[[0f32; 4], columns].concat(), (1, 2, 1, 4), &Device::Cpu).unwrap();
        let ys = warp(&xs, &places).unwrap();
        assert_eq!(flat(&ys), [1., 8., 8., -0.09375 * (0. + 4.) + 0.59375 * (1. + 2.)]);
        let weighting = Tensor::new(&[[[[1f32, 1., 1., 32.]]]], &Device::Cpu).unwrap();
        let gradients = (ys * weighting).unwrap().backward().unwrap();
        assert_eq!(flat(gradients.get(&xs).unwrap()), [-3., 20., 19., -3., 2.]);
    }

    #[test]
    fn pixel_centres_give_the_picture_itself() {
        let xs = noise((2, 3, 4, 5), 1);
        let axis = |size: usize| Tensor::arange(0f32, size as f32, &Device::Cpu).unwrap();
        let rows = axis(4).reshape((1, 1, 4, 1)).unwrap().broadcast_as((2, 1, 4, 5)).unwrap();
        let columns = axis(5).reshape((1, 1, 1, 5)).unwrap().broadcast_as((2, 1, 4, 5)).unwrap();
        let ys = warp(&xs, &Tensor::cat(&[rows, columns], 1).unwrap()).unwrap();
        assert_eq!(flat(&ys), flat(&xs));
    }

    /// The weights of all `size` pixels at every position, as the definition of the kernel gives them: `(positions, size)`.
    fn dense(positions: &[f32], size: usize) -> Vec<f64> {
        let kernel = |d: f64| match d.abs() {
            d if d <= 1. => 1.25 * d.powi(3) - 2.25 * d.powi(2) + 1.,
            d if d < 2. => -0.75 * (d.powi(3) - 5. * d.powi(2) + 8. * d - 4.),
            _ => 0.,
        };
        let row = |&position: &f32| {
            let mut weights = vec![0.; size];
            for pixel in -9..size as i64 + 9 {
                weights[pixel.clamp(0, size as i64 - 1) as usize] += kernel(f64::from(position) - pixel as f64);
            }
            weights
        };
        positions.iter().flat_map(row).collect()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_products_with_all_weights() {
        for (batch, channels, size, places) in [(2, 3, (5, 7), (4, 6)), (1, 1, (1, 1), (2, 2)), (1, 2, (9, 3), (3, 20))]
        {
            let positions = positions(batch, places, size);
            let count = places.0 * places.1;
            let axis = |axis: usize, size: usize| {
                let weights = dense(&flat(&positions.narrow(1, axis, 1).unwrap()), size);
                Tensor::from_vec(weights, (batch, count, size), &Device::Cpu).unwrap()
            };
            let (rows, columns) = (axis(0, size.0).unsqueeze(1).unwrap(), axis(1, size.1).unsqueeze(1).unwrap());
            let oracle = |xs: &[Tensor]| {
                // (batch, channels, count, width), then every position's own column.
                let lines = rows.broadcast_matmul(&xs[0])?;
                lines.broadcast_mul(&columns)?.sum(D::Minus1)?.reshape((batch, channels, places.0, places.1))
            };
            let xs = noise((batch, channels, size.0, size.1), 1);
            assert_matches(|xs| warp(&xs[0], &positions), oracle, &[xs], 1e-5);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let positions = positions(2, (33, 40), (31, 29));
        assert_thread_counts_agree(|xs| warp(&xs[0], &positions), &[noise((2, 3, 31, 29), 1)]);
    }

    #[test]
    fn positions_that_do_not_fit_are_refused() {
        let error = |xs: &Tensor, positions: &Tensor| warp(xs, positions).unwrap_err().to_string();
        let xs = noise((2, 3, 4, 4), 0);
        for shape in [vec![1, 2, 4, 4], vec![2, 3, 4, 4], vec![2, 2, 4]] {
            let text = error(&xs, &noise(shape.clone(), 0));
            assert!(text.starts_with(&format!("cannot read 2 pictures at positions {shape:?}")), "{text}");
        }
        let text = error(&noise((1, 3, 0, 4), 0), &noise((1, 2, 4, 4), 0));
        assert!(text.starts_with("cannot sample an empty 0x4 picture"), "{text}");
    }
}
