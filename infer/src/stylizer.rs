//! One style, ready to paint.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::model_file::{ModelCard, StyleModel};
use common::network::StyleNet;
use common::picture::Picture;
use common::styles::{BundledStyle, bundled_names};
use common::{Error, Result};

use crate::blend;

/// How a picture is painted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StylizeOptions {
    /// From 0, the photo, to 1, the painting; between them the pixels are mixed. Default: 1.
    pub strength: f32,
    /// Whether the painting keeps the photo's colours and gives it only its lights and darks. Default: no.
    pub keep_colors: bool,
    /// The picture is made smaller first if its longer side has more pixels than this. Default: no limit.
    ///
    /// Style networks know their strokes in pixels: a smaller picture gets broader ones.
    pub max_size: Option<u32>,
}

impl Default for StylizeOptions {
    fn default() -> Self {
        Self { strength: 1.0, keep_colors: false, max_size: None }
    }
}

impl StylizeOptions {
    fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(Error::usage(format!("a strength of {} is not between 0 and 1", self.strength)));
        }
        if self.max_size == Some(0) {
            return Err(Error::usage("a picture cannot be made to fit within 0 pixels"));
        }
        Ok(())
    }
}

/// A style that paints pictures.
#[derive(Debug, Clone)]
pub struct Stylizer {
    card: ModelCard,
    network: StyleNet,
    device: Device,
    options: StylizeOptions,
}

impl Stylizer {
    /// Loads a style-model file (see [`StyleModel::open`]) onto the CPU.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds no network that we know.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(&StyleModel::open(path.as_ref())?, &Device::Cpu)
    }

    /// Loads the bundled style of this name onto the CPU.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn bundled(name: &str) -> Result<Self> {
        let style = BundledStyle::named(name).ok_or_else(|| unknown_style(name))?;
        Self::new(&style.model()?, &Device::Cpu)
    }

    /// Puts a loaded model on `device`, with the default options.
    ///
    /// # Errors
    ///
    /// If the weights do not fit the network, or the device is out of memory.
    pub fn new(model: &StyleModel, device: &Device) -> Result<Self> {
        let network = model.network(device)?;
        Ok(Self { card: model.card.clone(), network, device: device.clone(), options: StylizeOptions::default() })
    }

    /// Paints with other options.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn with_options(self, options: StylizeOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, ..self })
    }

    /// What the style's file says of itself.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Paints a picture of any size. The painting has the picture's size (after `max_size`), depth, alpha and profile.
    ///
    /// The whole picture goes through the network at once: about 0.34 GB for a million pixels with preset `l`, half of
    /// it with `m` and so on. `max_size` bounds it.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn stylize(&self, picture: &Picture) -> Result<Picture> {
        let picture = picture.clone();
        let picture = match self.options.max_size {
            Some(long_side) => picture.fit_within(long_side),
            None => picture,
        };
        if self.options.strength == 0.0 {
            return Ok(picture);
        }
        let photo = picture.to_tensor(&self.device)?;
        let painting = self.paint(&photo)?;
        picture.with_colors(&self.blend(painting, &photo)?)
    }

    /// Runs the network on `(batch, 3, height, width)` pictures, RGB in `[0, 255]`, of any size from 1x1.
    ///
    /// The result has the same shape, not clamped. Options play no part. Pictures too small for the network are extended
    /// by their edge pixels, and the painting cropped.
    ///
    /// # Errors
    ///
    /// If the tensor has another shape or the device is out of memory.
    pub fn paint(&self, photo: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = photo.dims4()?;
        let missing = |size: usize| StyleNet::MIN_SIZE.saturating_sub(size);
        if missing(height) == 0 && missing(width) == 0 {
            return Ok(self.network.forward(photo)?);
        }
        let extended = photo.pad_with_same(2, 0, missing(height))?.pad_with_same(3, 0, missing(width))?;
        Ok(self.network.forward(&extended)?.narrow(2, 0, height)?.narrow(3, 0, width)?)
    }

    fn blend(&self, painting: Tensor, photo: &Tensor) -> Result<Tensor> {
        let StylizeOptions { strength, keep_colors, .. } = self.options;
        if strength >= 1.0 && !keep_colors {
            return Ok(painting);
        }
        let mut levels = planes(&painting)?;
        let original = planes(photo)?;
        if keep_colors {
            blend::keep_colors(&mut levels, &original);
        }
        blend::mix(&mut levels, &original, strength);
        Ok(Tensor::from_vec(levels, painting.shape(), &Device::Cpu)?)
    }
}

fn planes(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}

pub(crate) fn unknown_style(name: &str) -> Error {
    Error::usage(format!("there is neither a bundled style nor a file named `{name}`"))
        .with_hint(format!("bundled styles: {}", bundled_names()))
}

#[cfg(test)]
mod tests {
    use common::network::StyleNetConfig;

    use super::*;

    /// A network that learned nothing: every weight is a small constant. Enough to see what is done around it.
    fn stylizer() -> Stylizer {
        let mut tensors = common::weights::Tensors::new();
        let mut add = |name: &str, shape: &[usize]| {
            let value = if name.contains("conv") { 0.02f32 } else { 1.0 };
            tensors.insert(name.into(), Tensor::full(value, shape, &Device::Cpu).unwrap());
        };
        for (conv, norm, [outputs, inputs, kernel]) in [
            ("conv1", "in1", [2, 3, 9]),
            ("conv2", "in2", [4, 2, 3]),
            ("conv3", "in3", [8, 4, 3]),
            ("deconv1", "in4", [4, 8, 3]),
            ("deconv2", "in5", [2, 4, 3]),
            ("deconv3", "", [3, 2, 9]),
        ] {
            add(&format!("{conv}.conv2d.weight"), &[outputs, inputs, kernel, kernel]);
            add(&format!("{conv}.conv2d.bias"), &[outputs]);
            add(&format!("{norm}.weight"), &[outputs]);
            add(&format!("{norm}.bias"), &[outputs]);
        }
        let card = ModelCard::new("constant", StyleNetConfig { channels: 2, blocks: 0 });
        Stylizer::new(&StyleModel { card, tensors }, &Device::Cpu).unwrap()
    }

    fn ramp(shape: (usize, usize, usize, usize)) -> Tensor {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let levels: Vec<f32> = (0..count).map(|i| (i * 29 % 256) as f32).collect();
        Tensor::from_vec(levels, shape, &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_picture_too_small_for_the_network_is_extended_by_its_edge_and_cropped() {
        let stylizer = stylizer();
        let small = ramp((1, 3, 2, 7));
        let rows: Vec<_> = [0, 1, 1, 1, 1].iter().map(|&row| small.narrow(2, row, 1).unwrap()).collect();
        let extended = Tensor::cat(&rows, 2).unwrap();
        let painting = stylizer.paint(&small).unwrap();
        assert_eq!(painting.dims(), [1, 3, 2, 7]);
        assert_eq!(values(&painting), values(&stylizer.paint(&extended).unwrap().narrow(2, 0, 2).unwrap()));
    }

    #[test]
    fn a_batch_is_painted_picture_by_picture() {
        let stylizer = stylizer();
        let batch = ramp((2, 3, 9, 11));
        let painting = stylizer.paint(&batch).unwrap();
        for i in 0..2 {
            let alone = values(&stylizer.paint(&batch.narrow(0, i, 1).unwrap()).unwrap());
            let pairs = alone.into_iter().zip(values(&painting.narrow(0, i, 1).unwrap()));
            assert!(pairs.into_iter().all(|(alone, together)| (alone - together).abs() < 1e-3));
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for strength in [-0.1, 1.1, f32::NAN] {
            let options = StylizeOptions { strength, ..StylizeOptions::default() };
            assert_eq!(stylizer().with_options(options).unwrap_err().exit_code(), 2);
        }
        let options = StylizeOptions { max_size: Some(0), ..StylizeOptions::default() };
        assert!(stylizer().with_options(options).is_err());
    }

    #[test]
    fn a_bundled_style_of_an_unknown_name_is_a_usage_error() {
        let error = Stylizer::bundled("no such style").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.hint().unwrap().starts_with("bundled styles: "));
    }
}
