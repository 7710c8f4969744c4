//! Converts pictures to tensors and back.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use impasto_picture::level_of_8_bits;
use rayon::prelude::*;

use impasto_error::{Error, Result};

/// The number of pixels that a thread converts at a time: large enough to outweigh scheduling, small enough for its cache.
const BAND: usize = 1 << 14;

/// Turns an image into a `(1, 3, height, width)` tensor, RGB in `[0, 255]`.
///
/// # Errors
///
/// If the device is out of memory.
pub fn rgb_to_tensor(image: &RgbImage, device: &Device) -> Result<Tensor> {
    let planes = to_planes::<3, _>(image.as_raw(), f32::from);
    planes_to_tensor(planes, image.dimensions(), device)
}

/// Turns a `(1, 3, height, width)` tensor, RGB in `[0, 255]`, into an image: clamped and rounded to the nearest level.
///
/// # Errors
///
/// If the tensor has another shape.
pub fn tensor_to_rgb(tensor: &Tensor) -> Result<RgbImage> {
    let (_, _, height, width) = tensor.dims4()?;
    let mut image = RgbImage::new(width as u32, height as u32);
    interleave::<3, _>(&tensor_to_planes(tensor, image.dimensions())?, &mut image, level_of_8_bits);
    Ok(image)
}

fn planes_to_tensor(planes: Vec<f32>, (width, height): (u32, u32), device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(planes, (1, 3, height as usize, width as usize), device)?)
}

fn tensor_to_planes(tensor: &Tensor, (width, height): (u32, u32)) -> Result<Vec<f32>> {
    if tensor.dims() != [1, 3, height as usize, width as usize] {
        return Err(Error::new(format!(
            "a {:?} tensor is not an RGB picture of {width}x{height} pixels",
            tensor.shape()
        )));
    }
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}

/// Converts the first three of `CHANNELS` interleaved samples to consecutive planes.
fn to_planes<const CHANNELS: usize, T: Copy + Sync>(samples: &[T], level: impl Fn(T) -> f32 + Sync) -> Vec<f32> {
    let pixels = samples.as_chunks::<CHANNELS>().0;
    let mut planes = vec![0.0; 3 * pixels.len()];
    for (channel, plane) in planes.chunks_exact_mut(pixels.len().max(1)).enumerate() {
        plane.par_chunks_mut(BAND).zip(pixels.par_chunks(BAND)).for_each(|(plane, pixels)| {
            for (out, pixel) in plane.iter_mut().zip(pixels) {
                *out = level(pixel[channel]);
            }
        });
    }
    planes
}

/// Writes three planes to the first three of `CHANNELS` interleaved samples.
fn interleave<const CHANNELS: usize, T: Send>(planes: &[f32], samples: &mut [T], level: impl Fn(f32) -> T + Sync) {
    let pixels = samples.as_chunks_mut::<CHANNELS>().0;
    let (red, rest) = planes.split_at(pixels.len());
    let (green, blue) = rest.split_at(pixels.len());
    let planes = red.par_chunks(BAND).zip(green.par_chunks(BAND)).zip(blue.par_chunks(BAND));
    pixels.par_chunks_mut(BAND).zip(planes).for_each(|(pixels, ((red, green), blue))| {
        for (i, pixel) in pixels.iter_mut().enumerate() {
            pixel[0] = level(red[i]);
            pixel[1] = level(green[i]);
            pixel[2] = level(blue[i]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_red_green_blue_by_row() {
        let image = RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let tensor = rgb_to_tensor(&image, &Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [1, 3, 1, 2]);
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(tensor_to_rgb(&tensor).unwrap(), image);
    }

    #[test]
    fn levels_are_clamped_and_rounded_and_nan_is_black() {
        let levels = [-3.0, 0.4, 0.5, 254.6, 300.0, f32::NAN];
        let tensor = Tensor::new(&levels, &Device::Cpu).unwrap().reshape((1, 3, 1, 2)).unwrap();
        assert_eq!(tensor_to_rgb(&tensor).unwrap().into_raw(), [0, 1, 255, 0, 255, 0]);
    }

    #[test]
    fn a_tensor_of_another_shape_is_no_picture() {
        let tensor = Tensor::zeros((1, 4, 3, 2), DType::F32, &Device::Cpu).unwrap();
        let error = tensor_to_rgb(&tensor).unwrap_err();
        assert_eq!(error.to_string(), "a [1, 4, 3, 2] tensor is not an RGB picture of 2x3 pixels");
    }
}
