//! Pixels to tensors and back.

use candle_core::{DType, Device, Tensor};
use image::{DynamicImage, RgbImage};
use rayon::prelude::*;

use super::Picture;
use crate::{Error, Result};

/// Pixels a thread converts at a time: enough to outweigh handing them over, few enough to stay in its cache.
const BAND: usize = 1 << 14;

/// Levels of 16 bits per level of 8 bits: 65535 / 255.
const SIXTEEN_PER_EIGHT: f32 = 257.0;

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

impl Picture {
    /// The colours as a `(1, 3, height, width)` tensor, RGB in `[0, 255]`; 16-bit levels fall between the integers.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let level = |level: u16| f32::from(level) / SIXTEEN_PER_EIGHT;
        let planes = match &self.image {
            DynamicImage::ImageRgb8(image) => to_planes::<3, _>(image, f32::from),
            DynamicImage::ImageRgba8(image) => to_planes::<4, _>(image, f32::from),
            DynamicImage::ImageRgb16(image) => to_planes::<3, _>(image, level),
            DynamicImage::ImageRgba16(image) => to_planes::<4, _>(image, level),
            other => return Err(unexpected(other)),
        };
        planes_to_tensor(planes, (self.width(), self.height()), device)
    }

    /// The picture with other colours: alpha, profile and depth stay.
    ///
    /// `colors` is `(1, 3, height, width)`, RGB in `[0, 255]`; it is clamped and rounded to the nearest level.
    ///
    /// # Errors
    ///
    /// If the tensor has another size than the picture.
    pub fn with_colors(mut self, colors: &Tensor) -> Result<Self> {
        let planes = tensor_to_planes(colors, (self.width(), self.height()))?;
        match &mut self.image {
            DynamicImage::ImageRgb8(image) => interleave::<3, _>(&planes, image, level_of_8_bits),
            DynamicImage::ImageRgba8(image) => interleave::<4, _>(&planes, image, level_of_8_bits),
            DynamicImage::ImageRgb16(image) => interleave::<3, _>(&planes, image, level_of_16_bits),
            DynamicImage::ImageRgba16(image) => interleave::<4, _>(&planes, image, level_of_16_bits),
            other => return Err(unexpected(other)),
        }
        Ok(self)
    }
}

fn unexpected(image: &DynamicImage) -> Error {
    Error::new(format!("a picture of colour type {:?} was not converted to RGB", image.color()))
}

// A cast saturates and turns NaN into 0, so these clamp; adding a half rounds without a call into the C library.
fn level_of_8_bits(level: f32) -> u8 {
    (level + 0.5) as u8
}

fn level_of_16_bits(level: f32) -> u16 {
    (level * SIXTEEN_PER_EIGHT + 0.5) as u16
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

/// The first three of `CHANNELS` interleaved samples as planes, one after the other.
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
    use image::{Rgba, Rgba32FImage, RgbaImage};

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
    fn levels_are_clamped_and_rounded_and_not_a_number_is_black() {
        let levels = [-3.0, 0.4, 0.5, 254.6, 300.0, f32::NAN];
        let tensor = Tensor::new(&levels, &Device::Cpu).unwrap().reshape((1, 3, 1, 2)).unwrap();
        assert_eq!(tensor_to_rgb(&tensor).unwrap().into_raw(), [0, 1, 255, 0, 255, 0]);
    }

    #[test]
    fn every_16_bit_level_and_the_alpha_come_back() {
        let image =
            image::ImageBuffer::from_fn(256, 256, |x, y| Rgba([(256 * y + x) as u16, y as u16, 65535, x as u16]));
        let picture = Picture::from(DynamicImage::ImageRgba16(image));
        let tensor = picture.to_tensor(&Device::Cpu).unwrap();
        assert_eq!(picture.clone().with_colors(&tensor).unwrap(), picture);
    }

    #[test]
    fn new_colours_keep_the_alpha() {
        let picture = Picture::from(DynamicImage::from(RgbaImage::from_pixel(3, 2, Rgba([9, 9, 9, 77]))));
        let painted = picture.with_colors(&Tensor::full(200f32, (1, 3, 2, 3), &Device::Cpu).unwrap()).unwrap();
        assert!(painted.into_image().into_rgba8().pixels().all(|&pixel| pixel == Rgba([200, 200, 200, 77])));
    }

    #[test]
    fn floating_point_levels_are_cut_off_outside_zero_to_one() {
        let image = Rgba32FImage::from_pixel(1, 1, Rgba([-1.0, 0.5, 7.0, 1.0]));
        let picture = Picture::from(DynamicImage::from(image));
        assert_eq!(picture.bits(), 16);
        let levels = picture.to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(levels.iter().zip([0.0, 127.5, 255.0]).all(|(level, expected)| (level - expected).abs() < 0.01));
    }

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let picture = Picture::from(RgbImage::new(3, 2));
        let error = picture.with_colors(&Tensor::zeros((1, 3, 3, 2), DType::F32, &Device::Cpu).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "a [1, 3, 3, 2] tensor is not an RGB picture of 3x2 pixels");
    }
}
