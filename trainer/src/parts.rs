//! Steps cut into parts where a device has no memory for a whole one: gradient accumulation.
//!
//! The parts of a process are to it what processes are to a run (`peers`): all of one size, each with its photos, and what is a
//! mean over the batch is the mean of theirs. So the number of parts changes no result but by the rounding of sums.
//!
//! The number grows by itself. It is kept for every size of crops apart, and so follows from the device's memory and the size
//! alone, not from the sizes that came before: a resumed run, which begins with one part again, finds the same number.

use std::collections::BTreeMap;

use candle_core::Tensor;
use impasto_common::{Error, Result, device};

use crate::peers::Peers;

/// Why an attempt at a step came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// A device has no memory for it; every process knows.
    NoMemory(Error),
    /// Anything else, which smaller parts do not help.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// How many parts a step is computed in, for every size of crops for which one was too many.
#[derive(Debug, Clone, Default)]
pub struct Parts(BTreeMap<usize, usize>);

impl Parts {
    /// The number for crops of `size` pixels. What a smaller size needs a larger one needs too.
    fn of(&self, size: usize) -> usize {
        self.0.range(..=size).map(|(_, &parts)| parts).max().unwrap_or(1)
    }

    /// What `attempt` comes to in as few parts as there is memory for, at `size`, of which there are `photos` in this process.
    ///
    /// Parts have equal sizes, so their number is a divisor of `photos`. After a failure `again` is told the next number; whatever
    /// the attempt held is dropped by then.
    ///
    /// # Errors
    ///
    /// If there is no memory for one photo at a time, or `attempt` fails otherwise, or `again` does.
    pub fn fit<T>(
        &mut self,
        size: usize,
        photos: usize,
        mut attempt: impl FnMut(usize) -> Result<T, Failure>,
        mut again: impl FnMut(usize) -> Result<()>,
    ) -> Result<T> {
        let mut parts = self.of(size);
        loop {
            let error = match attempt(parts) {
                Ok(done) => return Ok(done),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::NoMemory(error)) => error,
            };
            let next = (parts + 1..=photos).find(|&parts| photos.is_multiple_of(parts));
            parts = next.ok_or_else(|| no_room(size, error))?;
            self.0.insert(size, parts);
            again(parts)?;
        }
    }
}

fn no_room(size: usize, error: Error) -> Error {
    Error::new(format!("the device has no memory to train on one photo of {size}x{size} pixels at a time"))
        .with_source(error)
        .with_hint(
            "a smaller `--size` or `--largest-size`, a smaller `--preset` or `--precision bf16` takes less, from the start; \
             where there is more memory, `--resume` goes on from the last snapshot",
        )
}

/// Makes a lack of memory in one process that of all, so that all go on with the same number of parts.
///
/// Between a process and the others only exchanges happen that all of them reach: work that a device may have no memory for ends
/// here, and the next exchange follows with none in between. What lacks memory elsewhere is no such failure: that process ends,
/// and the others with it, as for any other error.
///
/// # Errors
///
/// Of kind [`Failure::NoMemory`] where a process has no memory; otherwise if this one failed or another is gone.
pub fn agree<T>(own: Result<T>, peers: &mut Peers) -> Result<T, Failure> {
    let own = match own {
        Err(error) if !device::is_out_of_memory(&error) => return Err(Failure::Other(error)),
        own => own,
    };
    let lacking = peers.any(own.is_err())?;
    match own {
        Ok(done) if !lacking => Ok(done),
        Ok(_) => Err(Failure::NoMemory(Error::new("the device of another process is out of memory"))),
        Err(error) => Err(Failure::NoMemory(error)),
    }
}

/// The mean of what parts of one size came to, in their order.
///
/// # Errors
///
/// If there is no part, or their shapes differ.
pub fn mean(parts: &[Tensor]) -> Result<Tensor> {
    match parts {
        // The very bytes.
        [whole] => Ok(whole.clone()),
        parts => Ok(Tensor::stack(parts, 0)?.mean(0)?),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::peers::Seat;

    fn lack() -> Error {
        Error::from(candle_core::Error::Msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")".into()))
    }

    /// Attempts on a device whose memory suffices for `room` pixels: the numbers of parts tried, those told, what came of it.
    fn course(parts: &mut Parts, size: usize, photos: usize, room: usize) -> (Vec<usize>, Vec<usize>, Result<usize>) {
        let (mut tried, mut told) = (Vec::new(), Vec::new());
        let attempt = |parts| {
            tried.push(parts);
            let own = if photos / parts * size * size > room { Err(lack()) } else { Ok(parts) };
            agree(own, &mut Peers::alone())
        };
        let came = parts.fit(size, photos, attempt, |parts| {
            told.push(parts);
            Ok(())
        });
        (tried, told, came)
    }

    #[test]
    fn a_lack_of_memory_raises_the_parts_by_divisors_until_they_fit_and_the_number_stays() {
        let mut parts = Parts::default();
        let (tried, told, came) = course(&mut parts, 8, 12, 3 * 64);
        assert_eq!((tried, told, came.unwrap()), (vec![1, 2, 3, 4], vec![2, 3, 4], 4));
        let (tried, told, came) = course(&mut parts, 8, 12, 3 * 64);
        assert_eq!((tried, told, came.unwrap()), (vec![4], vec![], 4));
    }

    #[test]
    fn every_size_has_the_number_that_it_has_alone_and_a_larger_one_begins_with_a_smaller_ones() {
        let room = 4 * 64;
        let alone = |size| course(&mut Parts::default(), size, 4, room).2.unwrap();
        let mut parts = Parts::default();
        for size in [12, 8, 16, 12, 8] {
            assert_eq!(course(&mut parts, size, 4, room).2.unwrap(), alone(size), "{size}");
        }
        assert_eq!([alone(8), alone(12), alone(16)], [1, 4, 4]);
        assert_eq!(course(&mut parts, 15, 4, room).0, [4]);
    }

    #[test]
    fn one_photo_that_does_not_fit_ends_with_a_hint() {
        let (tried, told, came) = course(&mut Parts::default(), 256, 6, 1);
        assert_eq!((tried, told), (vec![1, 2, 3, 6], vec![2, 3, 6]));
        let error = came.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("the device has no memory to train on one photo of 256x256 pixels at a time: "),
            "{text}"
        );
        assert!(text.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{text}");
        let hint = error.hint().unwrap();
        for word in ["`--size`", "`--largest-size`", "`--preset`", "`--precision bf16`", "`--resume`"] {
            assert!(hint.contains(word), "{hint}");
        }
    }

    #[test]
    fn another_failure_ends_the_first_attempt() {
        let mut attempts = 0;
        let attempt = |_| -> Result<(), _> {
            attempts += 1;
            agree(Err(Error::new("the disk is full")), &mut Peers::alone())
        };
        let error = Parts::default().fit(8, 4, attempt, |_| Ok(())).unwrap_err();
        assert_eq!((attempts, error.to_string().as_str()), (1, "the disk is full"));
    }

    #[test]
    fn what_one_process_has_no_memory_for_all_compute_in_more_parts() {
        let work = |seat: Seat| {
            let mut peers = Peers::meet(&seat, &candle_core::Device::Cpu).unwrap();
            let mut tried = Vec::new();
            let attempt = |parts| {
                tried.push(parts);
                let own = if seat.index == 1 && parts < 4 { Err(lack()) } else { Ok(parts as f64) };
                let own = agree(own, &mut peers)?;
                // The second piece of work fails in another process, after an exchange that all have reached.
                let mean = peers.mean_of(own + seat.index as f64)?;
                let own = if seat.index == 2 && parts < 8 { Err(lack()) } else { Ok(mean) };
                agree(own, &mut peers)
            };
            let came = Parts::default().fit(8, 8, attempt, |_| Ok(())).unwrap();
            (tried, came)
        };
        let threads: Vec<_> = Seat::local(3).into_iter().map(|seat| thread::spawn(move || work(seat))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (vec![1, 2, 4, 8], 9.0));
        }
    }
}
