//! Batches split into micro-batches where a device has too little memory for a whole one: gradient accumulation.
//!
//! Micro-batches divide the batch of a process as processes divide the batch of a run ([`crate::peers`]): all have the same
//! size, each has its own photos, and a mean over the batch is the mean over them. So their number changes the result only by
//! the rounding of sums.
//!
//! The number grows automatically. It is stored for each crop size, so it depends only on the device's memory and the size, not
//! on earlier sizes. A resumed run, which begins with one micro-batch again, finds the same number.

use std::collections::BTreeMap;

use candle_core::Tensor;
use impasto_common::{Error, Result};

use crate::peers::Peers;

/// Why a step was not computed.
#[derive(Debug)]
pub enum StepFailure {
    /// A device ran out of memory. Every process knows of it.
    OutOfMemory(Error),
    /// Anything else: smaller micro-batches do not help.
    Other(Error),
}

impl From<Error> for StepFailure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// How many micro-batches a process's share of a batch is split into, for every size of crops for which one was too many.
#[derive(Debug, Clone, Default)]
pub struct MicroBatches(BTreeMap<usize, usize>);

impl MicroBatches {
    /// Their number for crops of `size` pixels. It is never lower than that for a smaller size.
    #[must_use]
    pub fn count(&self, size: usize) -> usize {
        self.0.range(..=size).map(|(_, &count)| count).max().unwrap_or(1)
    }

    /// Raises the number for crops of `size` pixels, and returns it, after the device had too little memory (`error`).
    ///
    /// Micro-batches have equal sizes, so their number is a divisor of `photos`, the photos in the process's share.
    ///
    /// # Errors
    ///
    /// If a micro-batch is one photo already.
    pub fn split_further(&mut self, size: usize, photos: usize, error: Error) -> Result<usize> {
        let next = (self.count(size) + 1..=photos).find(|&count| photos.is_multiple_of(count));
        let count = next.ok_or_else(|| no_room(size, error))?;
        self.0.insert(size, count);
        Ok(count)
    }
}

fn no_room(size: usize, error: Error) -> Error {
    Error::new(format!("the device has too little memory to train on one photo of {size}x{size} pixels at a time"))
        .with_source(error)
        .with_hint(
            "a new run with a smaller `--size`, `--largest-size` or `--preset`, or with `--precision bf16`, needs less; \
             on a device with more memory, `--resume` continues from the last snapshot",
        )
}

/// Turns a lack of memory in one process into one of all, so that all continue with the same number of micro-batches.
///
/// Work that may run out of device memory ends here, before the next exchange, and every process reaches every exchange. Any
/// other failure ends its process, and the others with it.
///
/// # Errors
///
/// [`StepFailure::OutOfMemory`] if a process has too little memory; otherwise if this one failed or the connection to another
/// is lost.
pub fn agree<T>(own: Result<T>, peers: &mut Peers) -> Result<T, StepFailure> {
    let own = match own {
        Err(error) if !error.is_out_of_memory() => return Err(StepFailure::Other(error)),
        own => own,
    };
    let lacking = peers.any(own.is_err())?;
    match own {
        Ok(done) if !lacking => Ok(done),
        Ok(_) => Err(StepFailure::OutOfMemory(Error::new("the device of another process is out of memory"))),
        Err(error) => Err(StepFailure::OutOfMemory(error)),
    }
}

/// The mean of one tensor for each micro-batch, in their order.
///
/// # Errors
///
/// If there is no micro-batch, or the shapes differ.
pub fn mean(micro_batches: &[Tensor]) -> Result<Tensor> {
    match micro_batches {
        // Bit-exact.
        [whole] => Ok(whole.clone()),
        several => Ok(Tensor::stack(several, 0)?.mean(0)?),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::peers::Seat;

    fn lack() -> Error {
        Error::new("tensor computation failed").with_source(std::io::Error::from(std::io::ErrorKind::OutOfMemory))
    }

    /// Attempts `attempt` as a step does: with more micro-batches after each lack of memory, which are told to `told`.
    fn fit<T>(
        micro_batches: &mut MicroBatches,
        (size, photos): (usize, usize),
        mut attempt: impl FnMut(usize) -> Result<T, StepFailure>,
        told: &mut Vec<usize>,
    ) -> Result<T> {
        let mut count = micro_batches.count(size);
        loop {
            match attempt(count) {
                Ok(done) => return Ok(done),
                Err(StepFailure::Other(error)) => return Err(error),
                Err(StepFailure::OutOfMemory(error)) => count = micro_batches.split_further(size, photos, error)?,
            }
            told.push(count);
        }
    }

    /// Attempts on a device whose memory suffices for `room` pixels: the numbers tried, those told, what came of it.
    fn course(
        micro_batches: &mut MicroBatches,
        size: usize,
        photos: usize,
        room: usize,
    ) -> (Vec<usize>, Vec<usize>, Result<usize>) {
        let (mut tried, mut told) = (Vec::new(), Vec::new());
        let attempt = |count| {
            tried.push(count);
            let own = if photos / count * size * size > room { Err(lack()) } else { Ok(count) };
            agree(own, &mut Peers::alone())
        };
        let came = fit(micro_batches, (size, photos), attempt, &mut told);
        (tried, told, came)
    }

    #[test]
    fn a_lack_of_memory_raises_the_number_by_divisors_until_they_fit_and_the_number_stays() {
        let mut micro_batches = MicroBatches::default();
        let (tried, told, came) = course(&mut micro_batches, 8, 12, 3 * 64);
        assert_eq!((tried, told, came.unwrap()), (vec![1, 2, 3, 4], vec![2, 3, 4], 4));
        let (tried, told, came) = course(&mut micro_batches, 8, 12, 3 * 64);
        assert_eq!((tried, told, came.unwrap()), (vec![4], vec![], 4));
    }

    #[test]
    fn every_size_has_its_own_number_and_a_larger_size_begins_with_that_of_a_smaller_one() {
        let room = 4 * 64;
        let alone = |size| course(&mut MicroBatches::default(), size, 4, room).2.unwrap();
        let mut micro_batches = MicroBatches::default();
        for size in [12, 8, 16, 12, 8] {
            assert_eq!(course(&mut micro_batches, size, 4, room).2.unwrap(), alone(size), "{size}");
        }
        assert_eq!([alone(8), alone(12), alone(16)], [1, 4, 4]);
        assert_eq!(course(&mut micro_batches, 15, 4, room).0, [4]);
    }

    #[test]
    fn one_photo_that_does_not_fit_ends_with_a_hint() {
        let (tried, told, came) = course(&mut MicroBatches::default(), 256, 6, 1);
        assert_eq!((tried, told), (vec![1, 2, 3, 6], vec![2, 3, 6]));
        let error = came.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("the device has too little memory to train on one photo of 256x256 pixels at a time: "),
            "{text}"
        );
        assert!(text.contains("out of memory"), "{text}");
        let hint = error.hint().unwrap();
        for word in ["`--size`", "`--largest-size`", "`--preset`", "`--precision bf16`", "`--resume`"] {
            assert!(hint.contains(word), "{hint}");
        }
    }

    #[test]
    fn any_other_failure_ends_the_first_attempt() {
        let mut attempts = 0;
        let attempt = |_| -> Result<(), _> {
            attempts += 1;
            agree(Err(Error::new("the disk is full")), &mut Peers::alone())
        };
        let error = fit(&mut MicroBatches::default(), (8, 4), attempt, &mut Vec::new()).unwrap_err();
        assert_eq!((attempts, error.to_string().as_str()), (1, "the disk is full"));
    }

    #[test]
    fn if_one_process_lacks_memory_all_use_more_micro_batches() {
        let work = |seat: Seat| {
            let mut peers = Peers::meet(&seat, &candle_core::Device::Cpu).unwrap();
            let mut tried = Vec::new();
            let attempt = |count| {
                tried.push(count);
                let own = if seat.index == 1 && count < 4 { Err(lack()) } else { Ok(count as f64) };
                let own = agree(own, &mut peers)?;
                // The second piece of work fails in another process, after an exchange that all have reached.
                let mean = peers.mean_of(own + seat.index as f64)?;
                let own = if seat.index == 2 && count < 8 { Err(lack()) } else { Ok(mean) };
                agree(own, &mut peers)
            };
            let came = fit(&mut MicroBatches::default(), (8, 8), attempt, &mut Vec::new()).unwrap();
            (tried, came)
        };
        let threads: Vec<_> = Seat::local(3).into_iter().map(|seat| thread::spawn(move || work(seat))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (vec![1, 2, 4, 8], 9.0));
        }
    }
}
