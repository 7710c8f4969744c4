//! Painting where the user wants it: on a card, or on the processor, which also paints what a card cannot.

use std::sync::{Mutex, OnceLock};

#[cfg(feature = "cuda")]
use super::gpu::{self, GpuEngine};
use super::{Engine, PaintPrecision, Rows, Sink, Statistics};
use impasto_common::device::DeviceChoice;
use impasto_common::network::Network;
use impasto_common::weights::Tensors;
use impasto_error::Result;

/// A picture of 8 bits: rows from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelFrame {
    /// Red, green, blue, and perhaps alpha, of each pixel.
    pub bytes: Vec<u8>,
    /// Bytes of a pixel, 3 or 4.
    pub channels: usize,
    /// Height and width in pixels.
    pub size: (usize, usize),
}

/// What becomes of a painting before it replaces its picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// From 0, the picture, to 1, the painting.
    pub strength: f32,
    /// Whether the painting keeps the picture's colours.
    pub keep_colors: bool,
}

/// How the painting of a frame began.
#[derive(Debug)]
pub enum Begun {
    /// It is under way on a card.
    Ticket(Ticket),
    /// No card can paint it: it is for [`AnyEngine::paint_steadily`].
    Refused(PixelFrame),
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// The frame is painted.
    Painted(PixelFrame),
    /// The card could not paint it after all: it is for [`AnyEngine::paint_steadily`].
    Refused(PixelFrame),
}

/// A frame that a card paints meanwhile.
#[derive(Debug)]
pub struct Ticket {
    #[cfg(feature = "cuda")]
    inner: gpu::Ticket,
    #[cfg(not(feature = "cuda"))]
    inner: std::convert::Infallible,
}

/// One style's network, ready to paint on a card or on the processor.
#[derive(Debug)]
pub struct AnyEngine {
    network: Network,
    precision: PaintPrecision,
    #[cfg(feature = "cuda")]
    card: Option<GpuEngine>,
    /// Made when it is needed first.
    cpu: OnceLock<Engine>,
    /// What the engine for the processor is made from, if it may be needed later.
    tensors: Tensors,
    /// Sizes that the card could not paint.
    #[cfg(feature = "cuda")]
    refused: Mutex<Vec<(usize, usize)>>,
    /// What the user should know.
    notes: Mutex<Vec<String>>,
}

/// Sizes that are remembered as too large for a card.
#[cfg(feature = "cuda")]
const REFUSED: usize = 16;

impl AnyEngine {
    /// Checks what can be checked before a style is loaded: whether this build knows the device, the processor the precision.
    ///
    /// # Errors
    ///
    /// If not.
    pub fn check(device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<()> {
        let has_cards = cfg!(feature = "cuda");
        if matches!(device, DeviceChoice::Cuda(_)) && !has_cards {
            device.open_with::<()>(None)?;
        }
        match device {
            DeviceChoice::Auto | DeviceChoice::Cuda(_) if has_cards => Ok(()),
            _ => precision.unwrap_or_default().check(),
        }
    }

    /// Prepares a network's weights for `device`: see [`Engine::new`]. Without a precision a card paints in f16, the
    /// processor in f32.
    ///
    /// [`DeviceChoice::Auto`] takes the first card if this build can use cards and there is one. What the user should know of
    /// the choice is among [`Self::take_notes`].
    ///
    /// # Errors
    ///
    /// If a tensor is missing or of another shape, a card that was asked for by name cannot be had, or the processor lacks the
    /// precision.
    pub fn new(
        network: &Network,
        tensors: &Tensors,
        device: DeviceChoice,
        precision: Option<PaintPrecision>,
    ) -> Result<Self> {
        Self::check(device, precision)?;
        #[cfg(feature = "cuda")]
        let (card, note) = match device {
            DeviceChoice::Cpu => (None, None),
            DeviceChoice::Cuda(ordinal) => (Some(GpuEngine::new(network, tensors, ordinal, precision)?), None),
            DeviceChoice::Auto => match GpuEngine::new(network, tensors, 0, precision) {
                Ok(card) => (Some(card), None),
                // Weights that do not fit are no matter of the card: the processor's engine says so again.
                Err(error) => (None, Some(format!("painting on the CPU: {error}"))),
            },
        };
        #[cfg(feature = "cuda")]
        let on_card = card.as_ref().map(GpuEngine::precision);
        #[cfg(not(feature = "cuda"))]
        let (on_card, note): (Option<PaintPrecision>, Option<String>) = (None, None);
        let (cpu, kept) = match on_card {
            None => (OnceLock::from(Engine::new(network, tensors, precision.unwrap_or_default())?), Tensors::new()),
            Some(_) => (OnceLock::new(), tensors.clone()),
        };
        Ok(Self {
            network: network.clone(),
            precision: on_card.or(precision).unwrap_or_default(),
            #[cfg(feature = "cuda")]
            card,
            cpu,
            tensors: kept,
            #[cfg(feature = "cuda")]
            refused: Mutex::default(),
            notes: Mutex::new(note.into_iter().collect()),
        })
    }

    /// The network's description.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The numbers that products are taken of.
    #[must_use]
    pub fn precision(&self) -> PaintPrecision {
        self.precision
    }

    /// The card that paints, if one does.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn card(&self) -> Option<&GpuEngine> {
        self.card.as_ref()
    }

    /// The name of the card that paints, if one does.
    #[must_use]
    pub fn gpu_name(&self) -> Option<&str> {
        #[cfg(feature = "cuda")]
        return self.card.as_ref().map(GpuEngine::name);
        #[cfg(not(feature = "cuda"))]
        None
    }

    /// What the user should know, and was not told yet: why the processor paints where a card could be expected to.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.lock().map(|mut notes| std::mem::take(&mut *notes)).unwrap_or_default()
    }

    /// Begins to paint a frame on the card: see [`Self::finish`]. Several may be under way at a time, but for those whose
    /// `statistics` follow the frames before.
    ///
    /// # Errors
    ///
    /// If the card fails.
    pub fn begin(&self, frame: PixelFrame, blend: Blend, statistics: &Statistics) -> Result<Begun> {
        #[cfg(feature = "cuda")]
        if let Some(card) = self.card.as_ref().filter(|_| !self.is_refused(frame.size)) {
            return Ok(match card.begin(frame, blend, statistics) {
                Ok(inner) => Begun::Ticket(Ticket { inner }),
                Err((frame, reason)) => {
                    self.refuse(frame.size, &reason);
                    Begun::Refused(frame)
                }
            });
        }
        let _ = (blend, statistics);
        Ok(Begun::Refused(frame))
    }

    /// Waits for a frame that is under way.
    ///
    /// # Errors
    ///
    /// If the card fails otherwise than for want of memory.
    pub fn finish(&self, ticket: Ticket, statistics: &mut Statistics) -> Result<Outcome> {
        #[cfg(feature = "cuda")]
        return Ok(match ticket.inner.finish(statistics)? {
            (frame, None) => Outcome::Painted(frame),
            (frame, Some(reason)) => {
                self.refuse(frame.size, &reason);
                Outcome::Refused(frame)
            }
        });
        #[cfg(not(feature = "cuda"))]
        {
            let _ = statistics;
            match ticket.inner {}
        }
    }

    /// Paints `picture` into `sink`: see [`Engine::paint_steadily`]. A card takes a picture as a whole, if `memory` allows.
    ///
    /// # Errors
    ///
    /// As there, or if the card fails otherwise than for want of memory.
    pub fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        memory: u64,
        statistics: &mut Statistics,
        sink: &mut Sink,
    ) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(card) = self.card.as_ref().filter(|_| !self.is_refused(picture.size())) {
            match card.paint_steadily(picture, memory, statistics, sink)? {
                None => return Ok(()),
                Some(reason) => self.refuse(picture.size(), &reason),
            }
        }
        self.cpu()?.paint_steadily(picture, memory, statistics, sink)
    }

    /// Gives back what is kept for the next picture, which then takes a little longer.
    pub fn release(&self) {
        #[cfg(feature = "cuda")]
        if let Some(card) = &self.card {
            card.release();
        }
        if let Some(cpu) = self.cpu.get() {
            cpu.release();
        }
    }

    fn cpu(&self) -> Result<&Engine> {
        if let Some(engine) = self.cpu.get() {
            return Ok(engine);
        }
        // Two pictures that need it at once make two, one of which is kept.
        let engine = Engine::new(&self.network, &self.tensors, PaintPrecision::F32)?;
        Ok(self.cpu.get_or_init(|| engine))
    }

    #[cfg(feature = "cuda")]
    fn is_refused(&self, size: (usize, usize)) -> bool {
        self.refused.lock().is_ok_and(|refused| refused.contains(&size))
    }

    #[cfg(feature = "cuda")]
    fn refuse(&self, size: (usize, usize), reason: &str) {
        if let Ok(mut refused) = self.refused.lock() {
            if refused.len() >= REFUSED {
                refused.remove(0);
            }
            refused.push(size);
        }
        if let Ok(mut notes) = self.notes.lock() {
            let (height, width) = size;
            notes.push(format!("a picture of {width}x{height} pixels is painted on the CPU: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::weights;
    use super::*;
    use impasto_common::network::{Preset, StyleNetConfig};

    #[test]
    fn the_processor_paints_where_no_card_was_asked_for() {
        let network = StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network();
        let engine = AnyEngine::new(&network, &weights(&network), DeviceChoice::Cpu, None).unwrap();
        assert_eq!(
            (engine.precision(), engine.gpu_name(), engine.take_notes()),
            (PaintPrecision::F32, None, Vec::new())
        );
        let frame = PixelFrame { bytes: vec![0; 75], channels: 3, size: (5, 5) };
        let blend = Blend { strength: 1.0, keep_colors: false };
        match engine.begin(frame.clone(), blend, &Statistics::own()).unwrap() {
            Begun::Refused(same) => assert_eq!(same, frame),
            Begun::Ticket(_) => panic!("there is no card"),
        }
    }

    #[test]
    fn the_processor_does_not_paint_in_f16() {
        let error = AnyEngine::check(DeviceChoice::Cpu, Some(PaintPrecision::F16)).unwrap_err();
        assert_eq!((error.exit_code(), error.hint()), (2, Some("use `f32`, or `bf16`")));
    }
}
