//! The engine that paints on a GPU or on the CPU. Pictures that the GPU cannot paint go to the CPU.
//!
//! Notices for the user are returned by the call that they concern, so that concurrent paintings do not see each other's
//! notices.

use std::sync::{Mutex, OnceLock};

#[cfg(feature = "cuda")]
use super::gpu::GpuEngine;
use super::gpu_painter::{Blend, FrameInFlight, GpuAnswer, GpuPainter, PixelFrame};
use super::{Engine, PaintPrecision, Rows, Sink, Statistics};
use impasto_common::device::DeviceChoice;
use impasto_common::network::Network;
use impasto_common::weights::Tensors;
use impasto_error::Result;

/// How many sizes are remembered as too large for the GPU.
const MAX_REFUSED: usize = 16;

/// A frame whose painting has begun.
#[derive(Debug)]
pub enum Begun {
    /// A GPU is painting it: see [`AnyEngine::finish`].
    Ticket(Ticket),
    /// No GPU can paint it: use [`AnyEngine::paint_steadily`].
    Refused(RefusedFrame),
}

/// How the painting of a frame on a GPU ended.
#[derive(Debug)]
pub enum Outcome {
    /// The frame is painted. There may be a notice for the user.
    Painted(PixelFrame, Option<String>),
    /// The GPU could not paint it after all: use [`AnyEngine::paint_steadily`].
    Refused(RefusedFrame),
}

/// A frame that the GPU does not paint, returned unchanged.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusedFrame {
    /// The frame.
    pub frame: PixelFrame,
    /// A notice for the user: why the GPU does not paint the frame. Only for the first frame of a size.
    pub note: Option<String>,
}

/// A frame that a GPU is painting.
#[derive(Debug)]
pub struct Ticket(Box<dyn FrameInFlight>);

/// One style's network, ready to paint on a GPU or on the CPU.
#[derive(Debug)]
pub struct AnyEngine {
    network: Network,
    precision: PaintPrecision,
    gpu: Option<Box<dyn GpuPainter>>,
    /// Why no GPU is used although the build supports it.
    fallback_reason: Option<String>,
    /// Made when it is first needed.
    cpu: OnceLock<Engine>,
    /// The weights for the CPU's engine, if it may be needed later.
    tensors: Tensors,
    /// Sizes that the GPU could not paint.
    refused: Mutex<Vec<(usize, usize)>>,
}

impl AnyEngine {
    /// Checks before a style is loaded that this build supports the device and that the CPU supports the precision.
    ///
    /// # Errors
    ///
    /// If one of them is not supported.
    pub fn check(device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<()> {
        let has_gpus = cfg!(feature = "cuda");
        if matches!(device, DeviceChoice::Cuda(_)) && !has_gpus {
            device.open_with::<()>(None)?;
        }
        match device {
            DeviceChoice::Auto | DeviceChoice::Cuda(_) if has_gpus => Ok(()),
            _ => precision.unwrap_or_default().check(),
        }
    }

    /// Prepares a network's weights for `device`: see [`Engine::new`]. The default precision is f16 on a GPU, f32 on the CPU.
    ///
    /// [`DeviceChoice::Auto`] is the first GPU if this build supports GPUs and there is one, otherwise the CPU: see
    /// [`Self::fallback_reason`].
    ///
    /// # Errors
    ///
    /// If a tensor is missing or has another shape, an explicitly requested GPU cannot be used, or the CPU does not support
    /// the precision.
    pub fn new(
        network: &Network,
        tensors: &Tensors,
        device: DeviceChoice,
        precision: Option<PaintPrecision>,
    ) -> Result<Self> {
        Self::check(device, precision)?;
        match open_gpu(network, tensors, device, precision)? {
            OpenedGpu::Gpu(gpu) => Ok(Self::with_gpu(network, tensors, gpu)),
            OpenedGpu::None(fallback_reason) => {
                let precision = precision.unwrap_or_default();
                let cpu = OnceLock::from(Engine::new(network, tensors, precision)?);
                let (refused, tensors) = (Mutex::default(), Tensors::new());
                Ok(Self { network: network.clone(), precision, gpu: None, fallback_reason, cpu, tensors, refused })
            }
        }
    }

    /// An engine that paints with `gpu`, and on the CPU what `gpu` cannot paint. `tensors` are the network's weights.
    #[must_use]
    pub fn with_gpu(network: &Network, tensors: &Tensors, gpu: Box<dyn GpuPainter>) -> Self {
        Self {
            network: network.clone(),
            precision: gpu.precision(),
            gpu: Some(gpu),
            fallback_reason: None,
            cpu: OnceLock::new(),
            tensors: tensors.clone(),
            refused: Mutex::default(),
        }
    }

    /// The network's description.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The arithmetic precision.
    #[must_use]
    pub fn precision(&self) -> PaintPrecision {
        self.precision
    }

    /// The GPU that paints, if there is one.
    #[must_use]
    pub fn gpu(&self) -> Option<&dyn GpuPainter> {
        self.gpu.as_deref()
    }

    /// A one-line notice for the user: why [`DeviceChoice::Auto`] uses the CPU in a build that supports GPUs.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Begins to paint a frame on the GPU: see [`Self::finish`]. Several frames may be in flight, unless `statistics`
    /// follow earlier frames.
    ///
    /// # Errors
    ///
    /// If the GPU fails.
    pub fn begin(&self, frame: PixelFrame, blend: Blend, statistics: &Statistics) -> Result<Begun> {
        let Some(gpu) = self.gpu_for(frame.size) else {
            return Ok(Begun::Refused(RefusedFrame { frame, note: None }));
        };
        Ok(match gpu.begin(frame, blend, statistics) {
            Ok(in_flight) => Begun::Ticket(Ticket(in_flight)),
            Err((frame, reason)) => {
                let note = Some(self.refuse(frame.size, &reason));
                Begun::Refused(RefusedFrame { frame, note })
            }
        })
    }

    /// Waits for a frame in flight.
    ///
    /// # Errors
    ///
    /// If the GPU fails for another reason than lack of memory.
    pub fn finish(&self, ticket: Ticket, statistics: &mut Statistics) -> Result<Outcome> {
        Ok(match ticket.0.finish(statistics)? {
            (frame, GpuAnswer::Painted(note)) => Outcome::Painted(frame, note),
            (frame, GpuAnswer::Refused(reason)) => {
                let note = Some(self.refuse(frame.size, &reason));
                Outcome::Refused(RefusedFrame { frame, note })
            }
        })
    }

    /// Paints `picture` into `sink`: see [`Engine::paint_steadily`]. A GPU takes a picture as a whole, if `memory` allows.
    ///
    /// Returns a notice for the user if the CPU painted instead of the GPU (only for the first picture of a size), or if the
    /// GPU painted slowly (once).
    ///
    /// # Errors
    ///
    /// As there, or if the GPU fails for another reason than lack of memory.
    pub fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<Option<String>> {
        let size = picture.size();
        let mut note = None;
        if let Some(gpu) = self.gpu_for(size) {
            match gpu.paint_steadily(picture, memory, statistics, sink)? {
                GpuAnswer::Painted(note) => return Ok(note),
                GpuAnswer::Refused(reason) => note = Some(self.refuse(size, &reason)),
            }
        }
        self.cpu()?.paint_steadily(picture, memory, statistics, sink)?;
        Ok(note)
    }

    /// Frees the memory that is kept for the next picture, which then takes a little longer.
    pub fn release(&self) {
        if let Some(gpu) = &self.gpu {
            gpu.release();
        }
        if let Some(cpu) = self.cpu.get() {
            cpu.release();
        }
    }

    fn cpu(&self) -> Result<&Engine> {
        if let Some(engine) = self.cpu.get() {
            return Ok(engine);
        }
        // If two pictures need it at once, two engines are made and one is kept.
        let engine = Engine::new(&self.network, &self.tensors, PaintPrecision::F32)?;
        Ok(self.cpu.get_or_init(|| engine))
    }

    /// The GPU, unless it has refused a picture of this size before.
    fn gpu_for(&self, size: (usize, usize)) -> Option<&dyn GpuPainter> {
        let is_refused = || self.refused.lock().is_ok_and(|refused| refused.contains(&size));
        self.gpu().filter(|_| !is_refused())
    }

    /// Remembers a size that the GPU cannot paint, and returns a one-line notice for the user.
    fn refuse(&self, size: (usize, usize), reason: &str) -> String {
        if let Ok(mut refused) = self.refused.lock() {
            if refused.len() >= MAX_REFUSED {
                refused.remove(0);
            }
            refused.push(size);
        }
        let (height, width) = size;
        format!("a picture of {width}x{height} pixels is painted on the CPU: {reason}")
    }
}

/// The GPU that a device choice asks for.
enum OpenedGpu {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "a build without CUDA opens none"))]
    Gpu(Box<dyn GpuPainter>),
    /// Falls back to the CPU, with a one-line notice for the user if the build supports GPUs.
    None(Option<String>),
}

#[cfg(feature = "cuda")]
fn open_gpu(
    network: &Network,
    tensors: &Tensors,
    device: DeviceChoice,
    precision: Option<PaintPrecision>,
) -> Result<OpenedGpu> {
    let open = |ordinal| GpuEngine::new(network, tensors, ordinal, precision);
    Ok(match device {
        DeviceChoice::Cpu => OpenedGpu::None(None),
        DeviceChoice::Cuda(ordinal) => OpenedGpu::Gpu(Box::new(open(ordinal)?)),
        DeviceChoice::Auto => match open(0) {
            Ok(gpu) => OpenedGpu::Gpu(Box::new(gpu)),
            // If the weights are at fault, the CPU's engine reports the same.
            Err(error) => OpenedGpu::None(Some(format!("painting on the CPU: {error}"))),
        },
    })
}

#[cfg(not(feature = "cuda"))]
#[expect(clippy::unnecessary_wraps, reason = "a build with GPUs can fail")]
fn open_gpu(_: &Network, _: &Tensors, _: DeviceChoice, _: Option<PaintPrecision>) -> Result<OpenedGpu> {
    Ok(OpenedGpu::None(None))
}

#[cfg(test)]
mod tests;
