//! The steps of a painting, and the places of its pictures (feature maps) in the arena.

use super::fold::padded;
use super::lower::{LoweredLayer, lower};
use impasto_common::network::{Activation, Network};
use impasto_kernels::steps::{Addend, COLOURS, Field, Lattice, MOMENTS, PaintStep, Program, tiles};

/// Alignment of pictures in elements: required by tensor-core loads, in any precision.
const ALIGNMENT: usize = 128;

/// The largest number of elements of a picture: our kernels and cuDNN's use 32-bit indices.
const MOST_ELEMENTS: usize = i32::MAX as usize;

/// The largest number of channels of a picture: one block of threads computes their statistics.
const MOST_CHANNELS: usize = 2048;

/// The error text for a picture too large for 32-bit indices.
const TOO_LARGE: &str = "it has too many pixels for the GPU kernels";

/// The program that paints a frame of `size`.
///
/// # Errors
///
/// If there is none: the reason, as it goes into a sentence about the frame.
pub(crate) fn program(network: &Network, size: (usize, usize)) -> Result<Program, String> {
    let layers = lower(network)?;
    let sizes = network.sizes(size).map_err(|error| error.to_string())?;
    let results = vec![None; layers.len()];
    let builder = ProgramBuilder {
        network,
        layers,
        sizes,
        results,
        steps: Vec::new(),
        arena: Arena::default(),
        partials: 0,
        fits: true,
    };
    builder.build(size)
}

/// A program under construction.
struct ProgramBuilder<'a> {
    network: &'a Network,
    layers: Vec<LoweredLayer>,
    /// Height and width of each layer's result.
    sizes: Vec<(usize, usize)>,
    /// The results that later layers add, with the padding that the next layer needs.
    results: Vec<Option<Addend>>,
    steps: Vec<PaintStep>,
    arena: Arena,
    partials: usize,
    fits: bool,
}

impl ProgramBuilder<'_> {
    fn build(mut self, size: (usize, usize)) -> Result<Program, String> {
        let (height, width) = size;
        let last = self.layers.len() - 1;
        self.steps.push(PaintStep::Survey);
        self.partials = COLOURS * tiles(height * width).0;
        let first = self.layers[0];
        let (side, lead, padding_mode) = (first.side(), first.lead, first.padding_mode);
        let mut current = self.field(self.padded_size(0, size, self.sizes[0]), padded(side * side * COLOURS));
        self.steps.push(PaintStep::Expand { to: current, side, lead, padding_mode });
        for index in 0..last {
            // Of the last layer's input, only the part that the painting's pixels depend on.
            let seen = if index + 1 == last { size } else { self.sizes[index + 1] };
            current = self.layer(index, current, seen)?;
        }
        let side = self.layers[last].side();
        let summands = self.convolve(last, current, padded(side * side * COLOURS), size);
        self.arena.free(current);
        self.steps.push(PaintStep::Join { from: summands, side });
        if !self.fits {
            return Err(TOO_LARGE.into());
        }
        Ok(Program { size, steps: self.steps, arena: self.arena.len, partials: self.partials })
    }

    /// The padded size of layer `index`'s input of size `input`, from the size of the needed part of its result.
    fn padded_size(&self, index: usize, input: (usize, usize), result: (usize, usize)) -> (usize, usize) {
        let layer = &self.layers[index];
        (layer.padded_side(input.0, result.0), layer.padded_side(input.1, result.1))
    }

    /// A layer's convolution of `from`, its normalization and the steps after it, with the padding that the next layer
    /// needs to give a result of size `seen`.
    fn layer(&mut self, index: usize, from: Field, seen: (usize, usize)) -> Result<Field, String> {
        let (own, next, size) = (self.layers[index], self.layers[index + 1], self.sizes[index]);
        let phases = own.phases();
        let channels = phases * phases * padded(self.network.layers[index].convolution.outputs);
        let results = self.convolve(index, from, channels, size);
        if index == 0 || !self.is_added_from(index - 1, index) {
            self.arena.free(from);
        }
        let lattice = Lattice { phases, skip: own.skip(), height: size.0, width: size.1 };
        self.steps.push(PaintStep::Measure { from: results, lattice, layer: index });
        self.partials = self.partials.max(MOMENTS * results.tiles().0 * results.channels);
        let to = self.field(self.padded_size(index + 1, size, seen), lattice.channels(&results));
        let residual = self.addend(index, size)?;
        let relu = self.network.layers[index].activation == Activation::Relu;
        let (padding_mode, pad) = (next.padding_mode, next.lead);
        self.steps.push(PaintStep::Apply {
            from: results,
            lattice,
            layer: index,
            relu,
            residual,
            padding_mode,
            pad,
            to,
        });
        self.arena.free(results);
        if let Some(added) = self.network.added(index).filter(|&added| !self.is_added_from(added, index + 1)) {
            self.results[added].take().into_iter().for_each(|addend| self.arena.free(addend.field));
        }
        if self.is_added_from(index, index + 1) {
            self.results[index] = Some(Addend { field: to, lead: pad });
        }
        Ok(to)
    }

    /// Whether layer `from` or a later one adds the result of layer `index`.
    fn is_added_from(&self, index: usize, from: usize) -> bool {
        (from..self.layers.len()).any(|later| self.network.added(later) == Some(index))
    }

    /// The addend of layer `index`, whose result has `size`.
    fn addend(&self, index: usize, (height, width): (usize, usize)) -> Result<Option<Addend>, String> {
        let Some((residual, added)) = self.network.layers[index].residual.zip(self.network.added(index)) else {
            return Ok(None);
        };
        let addend = self.results[added].map(|addend| Addend { lead: addend.lead + residual.crop, ..addend });
        let is_whole =
            |addend: &Addend| addend.lead + height <= addend.field.height && addend.lead + width <= addend.field.width;
        let name = &self.network.layers[index].convolution.name;
        addend
            .filter(is_whole)
            .map(Some)
            .ok_or_else(|| format!("the residual of layer `{name}` is incomplete on the GPU"))
    }

    /// The plain convolution of a layer to this many channels, with as many pixels as its results of `size` take.
    fn convolve(&mut self, index: usize, from: Field, channels: usize, (height, width): (usize, usize)) -> Field {
        let layer = self.layers[index];
        let side = |side: usize| (side - layer.kernel()) / layer.stride + 1;
        debug_assert!(side(from.height) * layer.phases() >= height && side(from.width) * layer.phases() >= width);
        let to = self.field((side(from.height), side(from.width)), channels);
        self.steps.push(PaintStep::Convolve { from, to, layer: index });
        to
    }

    fn field(&mut self, (height, width): (usize, usize), channels: usize) -> Field {
        let mut field = Field { at: 0, height, width, channels };
        field.at = self.arena.take(field.len());
        self.fits &= field.len() <= MOST_ELEMENTS && channels <= MOST_CHANNELS;
        field
    }
}

/// Allocates pictures in the arena, first fit: a picture takes the first gap that is large enough.
#[derive(Debug, Default)]
struct Arena {
    /// The peak use of the arena.
    len: usize,
    /// The ranges in use (first element and one past the last), in order.
    taken: Vec<(usize, usize)>,
}

impl Arena {
    fn take(&mut self, len: usize) -> usize {
        let len = len.next_multiple_of(ALIGNMENT);
        let mut at = 0;
        let place = self.taken.iter().position(|&(start, end)| {
            let fits = at + len <= start;
            at = if fits { at } else { end };
            fits
        });
        self.taken.insert(place.unwrap_or(self.taken.len()), (at, at + len));
        self.len = self.len.max(at + len);
        at
    }

    fn free(&mut self, field: Field) {
        self.taken.retain(|&(start, _)| start != field.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::{Preset, StyleNetConfig};

    fn of(preset: Preset, size: (usize, usize)) -> Result<Program, String> {
        program(&StyleNetConfig::from(preset).network(), size)
    }

    #[test]
    fn gaps_are_filled_from_the_front() {
        let mut arena = Arena::default();
        let field = |at| Field { at, height: 1, width: 1, channels: 1 };
        assert_eq!([arena.take(100), arena.take(300), arena.take(128)], [0, 128, 512]);
        arena.free(field(128));
        assert_eq!([arena.take(200), arena.take(100), arena.take(129)], [128, 384, 640]);
        assert_eq!(arena.len, 896);
    }

    #[test]
    fn a_full_hd_frame_keeps_few_feature_maps_at_a_time() {
        let program = of(Preset::L, (1080, 1920)).unwrap();
        // Three of 32 channels in full size.
        let picture = 1080 * 1920 * 32;
        assert!(program.arena < 3 * picture + picture / 16, "{}", program.arena);
        let convolutions = program.steps.iter().filter(|step| matches!(step, PaintStep::Convolve { .. })).count();
        assert_eq!(convolutions, 3 + 10 + 3);
    }

    #[test]
    fn pictures_beyond_32_bits_are_refused() {
        assert!(of(Preset::L, (8000, 8000)).is_ok());
        assert_eq!(of(Preset::L, (8192, 8192)).unwrap_err(), TOO_LARGE);
    }
}
