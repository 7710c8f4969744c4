//! The builder of a stylizer: device, precision and options.

use std::sync::Arc;

use impasto_common::Result;
use impasto_common::device::DeviceChoice;
use impasto_common::model_file::StyleModel;
use impasto_engine::{AnyEngine, PaintPrecision};

use super::{StylizeOptions, Stylizer};

/// Makes a [`Stylizer`].
///
/// ```no_run
/// use std::path::Path;
/// use impasto_common::device::DeviceChoice;
/// use impasto_common::model_file::StyleModel;
/// use impasto_infer::{StylizeOptions, Stylizer};
///
/// let model = StyleModel::open(Path::new("mosaic.safetensors"))?;
/// let options = StylizeOptions { strength: 0.8, ..StylizeOptions::default() };
/// let stylizer = Stylizer::builder().device(DeviceChoice::Auto).options(options).build(&model)?;
/// # Ok::<(), impasto_common::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StylizerBuilder {
    device: DeviceChoice,
    precision: Option<PaintPrecision>,
    options: StylizeOptions,
}

impl Default for StylizerBuilder {
    fn default() -> Self {
        Self { device: DeviceChoice::Cpu, precision: None, options: StylizeOptions::default() }
    }
}

impl StylizerBuilder {
    /// Where to paint: see [`AnyEngine::new`]. Default: on the CPU.
    #[must_use]
    pub fn device(self, device: DeviceChoice) -> Self {
        Self { device, ..self }
    }

    /// The arithmetic precision. Default, or with `None`: f32 on the CPU, f16 on a GPU.
    #[must_use]
    pub fn precision(self, precision: impl Into<Option<PaintPrecision>>) -> Self {
        Self { precision: precision.into(), ..self }
    }

    /// How pictures are painted. Default: [`StylizeOptions::default`].
    #[must_use]
    pub fn options(self, options: StylizeOptions) -> Self {
        Self { options, ..self }
    }

    /// Prepares the weights of `model` for the device.
    ///
    /// With [`DeviceChoice::Auto`], [`AnyEngine::fallback_reason`] of [`Stylizer::engine`] tells why the CPU is used in a
    /// build that supports GPUs.
    ///
    /// # Errors
    ///
    /// If the weights do not fit the network, an option is out of range, the CPU does not support the precision, or an
    /// explicitly requested GPU cannot be used.
    pub fn build(self, model: &StyleModel) -> Result<Stylizer> {
        let network = model.card.network.network();
        self.options.validate(&network)?;
        let engine = AnyEngine::new(&network, &model.tensors, self.device, self.precision)?;
        Ok(Stylizer { card: model.card.clone(), engine: Arc::new(engine), options: self.options })
    }
}
