//! The buffers of results that are kept in memory: how many floats the pool ends up with.

use super::{MemoryPlan, Place, StoredResult};

impl MemoryPlan {
    /// Floats of the buffer that a result takes: results of one level share buffers if they are about as large.
    pub(super) fn buffer_floats(&self, result: &StoredResult) -> usize {
        let floats = result.floats();
        let shared = self.largest.iter().copied().filter(|&largest| floats <= largest && 4 * floats > 3 * largest);
        shared.min().unwrap_or(floats)
    }

    /// Floats of all buffers of whole results, found by replaying the order in which the painting takes and returns them.
    pub(super) fn whole_floats(&self) -> usize {
        let mut buffers = Buffers::default();
        let last = self.results.len() - 1;
        // The complete result that the chain begins with, and the results behind it.
        let (mut start, mut chain): (Option<usize>, Vec<usize>) = (None, Vec::new());
        for (index, result) in self.results[..last].iter().enumerate() {
            if result.place == Place::Whole {
                buffers.take(index, self.buffer_floats(result));
            }
            let is_added = |layer: usize| self.results[layer].layer.is_added_behind(index);
            if result.layer.complete || result.place != Place::Window {
                chain.drain(..).for_each(|layer| buffers.give(layer));
                let is_summed = result.layer.added == start;
                if let Some(start) = start.filter(|&start| !is_added(start) && !is_summed) {
                    buffers.give(start);
                }
            }
            if !result.layer.complete {
                chain.push(index);
                continue;
            }
            if let Some(added) = result.layer.added.filter(|&added| !is_added(added)) {
                // The sum overwrites the addend.
                buffers.exchange(added, index);
                buffers.give(added);
            }
            start = Some(index);
        }
        buffers.total
    }
}

/// Simulates the pool, which gives out the smallest buffer that is large enough.
#[derive(Debug, Default)]
struct Buffers {
    free: Vec<usize>,
    /// Layer and floats.
    taken: Vec<(usize, usize)>,
    total: usize,
}

impl Buffers {
    fn take(&mut self, layer: usize, floats: usize) {
        let fitting = self.free.iter().enumerate().filter(|&(_, &free)| free >= floats);
        let floats = if let Some((at, _)) = fitting.min_by_key(|&(_, &free)| free) {
            self.free.swap_remove(at)
        } else {
            self.total += floats;
            floats
        };
        self.taken.push((layer, floats));
    }

    fn give(&mut self, layer: usize) {
        if let Some(at) = self.taken.iter().position(|&(owner, _)| owner == layer) {
            self.free.push(self.taken.swap_remove(at).1);
        }
    }

    fn exchange(&mut self, one: usize, other: usize) {
        for (owner, _) in &mut self.taken {
            *owner = if *owner == one {
                other
            } else if *owner == other {
                one
            } else {
                *owner
            };
        }
    }
}
