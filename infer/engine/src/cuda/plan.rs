//! The steps of a painting, and where in the arena its pictures lie.

use super::fold::padded;
use impasto_common::network::StyleNetConfig;
use impasto_kernels::steps::{Border, COLOURS, Field, Lattice, NINE_REACH, PART, Program, SHIFTED, Step, tiles};

/// Elements to which pictures are aligned: what a tensor core's load wants, in any precision.
const ALIGNMENT: usize = 128;

/// Elements of a picture, at most: kernels count in 32 bits, cuDNN's do too.
const MOST_ELEMENTS: usize = i32::MAX as usize;

/// Channels of a picture, at most: what one block of threads can measure.
const MOST_CHANNELS: usize = 2048;

/// The program that paints a frame of `size`, or nothing if it is too large for a card's kernels.
pub(super) fn program(config: &StyleNetConfig, size: (usize, usize)) -> Option<Program> {
    let mut plan = Plan { config: *config, steps: Vec::new(), arena: Arena::default(), layer: 0, parts: 0, fits: true };
    plan.paint(size);
    let Plan { steps, arena, parts, fits, .. } = plan;
    fits.then_some(Program { size, steps, arena: arena.len, parts })
}

/// A program in the making.
struct Plan {
    config: StyleNetConfig,
    steps: Vec<Step>,
    arena: Arena,
    /// The next layer.
    layer: usize,
    parts: usize,
    fits: bool,
}

/// What becomes of a layer's results.
struct Then {
    lattice: Lattice,
    relu: bool,
    residual: Option<Field>,
    border: Border,
    pad: usize,
    /// Height and width to which the bordered picture is cut.
    cut: Option<(usize, usize)>,
    /// Whether what was convolved is needed again.
    keep: bool,
}

impl Default for Then {
    fn default() -> Self {
        let (lattice, border) = (Lattice::Plain, Border::Mirrored);
        Self { lattice, relu: true, residual: None, border, pad: 1, cut: None, keep: false }
    }
}

impl Plan {
    fn paint(&mut self, (height, width): (usize, usize)) {
        let [c1, c2, c4] = [1, 2, 4].map(|factor| padded(factor * self.config.channels));
        let blocks = self.config.blocks;
        // Before an enlarging convolution the mirrored border of the enlarged picture is the repeated edge of this one.
        let border = |is_last: bool| if is_last { Border::Edge } else { Border::Mirrored };

        self.steps.push(Step::Survey);
        self.parts = COLOURS * tiles(height * width).0;
        let frame = self.field(height + 2, width + 2, SHIFTED);
        self.steps.push(Step::Expand { to: frame });
        let first = self.layer(frame, (c1, 3, 1), Then::default());
        let second = self.layer(first, (c2, 3, 2), Then::default());
        let mut trunk = self.layer(second, (c4, 3, 2), Then { border: border(blocks == 0), ..Then::default() });

        for block in 1..=blocks {
            let inner = self.layer(trunk, (c4, 3, 1), Then { keep: true, ..Then::default() });
            let last = Then { relu: false, residual: Some(trunk), border: border(block == blocks), ..Then::default() };
            let next = self.layer(inner, (c4, 3, 1), last);
            self.arena.free(trunk);
            trunk = next;
        }

        let double = Lattice::Double;
        let third =
            self.layer(trunk, (4 * c2, 2, 1), Then { lattice: double, border: Border::Edge, ..Then::default() });
        // Of the enlarged picture only what the painting's pixels see.
        let cut = Some((height + 2 * NINE_REACH, width + 2 * NINE_REACH));
        let last = Then { lattice: double, pad: NINE_REACH, cut, ..Then::default() };
        let fourth = self.layer(third, (4 * c1, 2, 1), last);
        let parts = self.convolve(fourth, (SHIFTED, 3, 1));
        self.arena.free(fourth);
        self.steps.push(Step::Join { from: parts });
    }

    /// A convolution of `from`, its normalisation and what follows. `shape` is outputs, kernel and stride.
    fn layer(&mut self, from: Field, shape: (usize, usize, usize), then: Then) -> Field {
        let layer = self.layer;
        let Then { lattice, relu, residual, border, pad, cut, keep } = then;
        let results = self.convolve(from, shape);
        if !keep {
            self.arena.free(from);
        }
        self.steps.push(Step::Measure { from: results, lattice, layer });
        self.parts = self.parts.max(PART * results.tiles().0 * results.channels);
        let (height, width, channels) = lattice.content(&results);
        let (height, width) = cut.unwrap_or((height + 2 * pad, width + 2 * pad));
        let to = self.field(height, width, channels);
        self.steps.push(Step::Apply { from: results, lattice, layer, relu, residual, border, pad, to });
        self.arena.free(results);
        to
    }

    fn convolve(&mut self, from: Field, (outputs, kernel, stride): (usize, usize, usize)) -> Field {
        let side = |side: usize| (side - kernel) / stride + 1;
        let to = self.field(side(from.height), side(from.width), outputs);
        self.steps.push(Step::Convolve { from, to, layer: self.layer });
        self.layer += 1;
        to
    }

    fn field(&mut self, height: usize, width: usize, channels: usize) -> Field {
        let mut field = Field { at: 0, height, width, channels };
        field.at = self.arena.take(field.len());
        self.fits &= field.len() <= MOST_ELEMENTS && channels <= MOST_CHANNELS;
        field
    }
}

/// Where pictures lie, and what is free between them. A picture takes the first gap that it fits into.
#[derive(Debug, Default)]
struct Arena {
    /// The most that was taken at a time.
    len: usize,
    /// First and one past the last element of what is taken, in order.
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
    use impasto_common::network::Preset;

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
    fn a_frame_of_full_high_definition_takes_few_of_its_pictures_at_a_time() {
        let program = program(&Preset::L.into(), (1080, 1920)).unwrap();
        // Three of 32 channels in full size.
        let picture = 1080 * 1920 * 32;
        assert!(program.arena < 3 * picture + picture / 16, "{}", program.arena);
        let convolutions = program.steps.iter().filter(|step| matches!(step, Step::Convolve { .. })).count();
        assert_eq!(convolutions, 3 + 10 + 3);
    }

    #[test]
    fn pictures_beyond_32_bits_are_refused() {
        assert!(program(&Preset::L.into(), (8000, 8000)).is_some());
        assert!(program(&Preset::L.into(), (8192, 8192)).is_none());
    }
}
