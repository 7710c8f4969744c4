//! What a patchwork remembers of earlier frames, as bytes.

use std::io;

use impasto_flow::Pyramid;

use super::super::memory::{MemoryReader, MemoryWriter, invalid};
use super::{KeptPainting, Patchwork, tiles};

impl Patchwork {
    /// Writes what is remembered between two frames.
    pub(in super::super) fn save(&self, writer: &mut MemoryWriter<'_>) -> io::Result<()> {
        writer.number(self.frames)?;
        let Some(before) = &self.before else { return writer.number(0) };
        writer.number(1)?;
        // Its smaller levels follow from the largest.
        writer.luma(&before.levels()[0])?;
        writer.bytes(&self.ages)?;
        writer.number(self.kept.len())?;
        self.kept.iter().try_for_each(|KeptPainting { painting, painted_at, flow }| {
            writer.frame(painting)?;
            writer.luma(painted_at)?;
            writer.flow(flow)
        })
    }

    /// Reads what [`Self::save`] has written into an empty patchwork with the same options.
    pub(in super::super) fn restore(&mut self, reader: &mut MemoryReader<'_>) -> io::Result<()> {
        self.frames = reader.number()?;
        if reader.number()? == 0 {
            return Ok(());
        }
        let before = Pyramid::of_luma(reader.luma()?);
        let (size, level) = (before.size(), self.options.flow.finest_level(&before));
        let small = before.levels()[level].size();
        self.ages = reader.bytes()?;
        let kept = reader.number()?;
        let oldest = self.ages.iter().max().map_or(0, |age| usize::from(*age));
        if self.ages.len() != small.0 * small.1 || kept == 0 || kept > self.oldest().max(1) || oldest > kept {
            return Err(invalid("the ages of the pieces do not fit the paintings"));
        }
        for _ in 0..kept {
            let (painting, painted_at, flow) = (reader.frame()?, reader.luma()?, reader.flow()?);
            if (painting.size(), painted_at.size(), flow.size()) != (size, small, small) {
                return Err(invalid("a painting has another size"));
            }
            self.kept.push_back(KeptPainting { painting, painted_at, flow });
        }
        self.turns = tiles::Turns::new(small, self.options.hold);
        self.before = Some(before);
        Ok(())
    }
}
