//! Several processes that train one style together, one for each GPU: data-parallel training.
//!
//! Each takes its part of every batch; what is a mean over the batch (magnitudes of content features, gradients, figures) is made
//! one by the mean over the processes, as it is by that over the parts of a process (`parts`). So the losses are those of one process with the same batch, up to the order of sums, and
//! every process makes the same step. The first one writes the files.
//!
//! Who takes part is what the launchers that people have say in the environment (`launcher`); they meet over TCP (`star`), which
//! also carries the sums where NCCL does not.

mod launcher;
#[cfg(feature = "nccl")]
mod nccl;
mod star;

use candle_core::{DType, Device, Tensor};
use impasto_common::{Error, Result};

pub use self::launcher::Seat;
use self::star::Star;

/// This process among those that train together; alone it has nobody to ask.
#[derive(Debug)]
pub struct Peers {
    seat: Seat,
    star: Option<Star>,
    #[cfg(feature = "nccl")]
    ring: Option<nccl::Ring>,
}

impl Peers {
    /// A process on its own.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            seat: Seat::ALONE,
            star: None,
            #[cfg(feature = "nccl")]
            ring: None,
        }
    }

    /// Meets the others; waits for all of them.
    ///
    /// # Errors
    ///
    /// If one does not come, or the network fails.
    pub fn meet(seat: &Seat, device: &Device) -> Result<Self> {
        if seat.count == 1 {
            return Ok(Self::alone());
        }
        #[cfg_attr(not(feature = "nccl"), expect(unused_mut, reason = "only NCCL needs to hand something out"))]
        let mut star = Star::meet(seat)?;
        #[cfg(feature = "nccl")]
        let ring = nccl::Ring::form(seat, &mut star, device)?;
        #[cfg(not(feature = "nccl"))]
        let _ = device;
        let mut peers = Self {
            seat: seat.clone(),
            star: Some(star),
            #[cfg(feature = "nccl")]
            ring,
        };
        // Nobody goes on before all have come this far.
        peers.mean_of(0.0)?;
        Ok(peers)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seat.count
    }

    /// Which one this is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.seat.index
    }

    /// Whether this process writes the files.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.seat.index == 0
    }

    /// Checks that batches can be cut into equal parts.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn check_batch(&self, batch: usize) -> Result<()> {
        if batch.is_multiple_of(self.count()) {
            return Ok(());
        }
        let message = format!("`--batch {batch}` cannot be shared out to {} processes equally", self.count());
        let next = batch.next_multiple_of(self.count());
        Err(Error::usage(message).with_hint(format!("use a multiple of {}, such as {next}", self.count())))
    }

    /// The mean of a number over all processes.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn mean_of(&mut self, number: f64) -> Result<f64> {
        let Some(star) = &mut self.star else { return Ok(number) };
        let sum = star.sum(&[number as f32])?;
        Ok(f64::from(sum.first().copied().unwrap_or_default()) / self.seat.count as f64)
    }

    /// Whether something holds in one process at least.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn any(&mut self, own: bool) -> Result<bool> {
        Ok(self.mean_of(f64::from(u8::from(own)))? > 0.0)
    }

    /// The mean of an f32 tensor over all processes, every value by itself.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn mean(&mut self, tensor: Tensor) -> Result<Tensor> {
        let Some(star) = &mut self.star else { return Ok(tensor) };
        let factor = 1.0 / self.seat.count as f64;
        #[cfg(feature = "nccl")]
        if let Some(ring) = &self.ring {
            return Ok((ring.sum(&tensor)? * factor)?);
        }
        let values = tensor.detach().flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let sum = star.sum(&values)?;
        Ok((Tensor::from_vec(sum, tensor.shape(), tensor.device())? * factor)?)
    }

    /// The means of several f32 tensors, in one exchange.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn means(&mut self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        if self.star.is_none() {
            return Ok(tensors);
        }
        let flat = tensors.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        let mean = self.mean(Tensor::cat(&flat, 0)?)?;
        let mut first = 0;
        let parts = tensors.iter().map(|tensor| {
            let part = mean.narrow(0, first, tensor.elem_count())?.reshape(tensor.shape())?;
            first += tensor.elem_count();
            Ok(part)
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_everything_stays_as_it_is() {
        let mut peers = Peers::alone();
        assert!((peers.count(), peers.index(), peers.writes()) == (1, 0, true));
        let tensor = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        assert_eq!(peers.mean(tensor).unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(peers.mean_of(0.3).unwrap().to_bits(), 0.3f64.to_bits());
    }

    #[test]
    fn means_are_taken_over_all_processes_and_come_back_in_their_shapes() {
        let seats = Seat::local(3);
        let work = |seat: Seat| {
            let mut peers = Peers::meet(&seat, &Device::Cpu).unwrap();
            let rank = seat.index as f32;
            let pair = Tensor::new(&[[rank, 10.0], [1.0, 3.0 * rank]], &Device::Cpu).unwrap();
            let single = Tensor::new(-rank, &Device::Cpu).unwrap();
            let means = peers.means(vec![pair, single]).unwrap();
            assert_eq!(means[0].to_vec2::<f32>().unwrap(), [[1.0, 10.0], [1.0, 3.0]]);
            assert_eq!(means[1].to_scalar::<f32>().unwrap().to_bits(), (-1f32).to_bits());
            peers.mean_of(f64::from(rank)).unwrap()
        };
        let threads: Vec<_> = seats.into_iter().map(|seat| std::thread::spawn(move || work(seat))).collect();
        for thread in threads {
            assert!((thread.join().unwrap() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_batch_that_cannot_be_shared_out_is_refused_with_the_next_that_can() {
        let peers = Peers { seat: Seat { count: 3, ..Seat::ALONE }, ..Peers::alone() };
        peers.check_batch(6).unwrap();
        let error = peers.check_batch(4).unwrap_err();
        assert_eq!(error.to_string(), "`--batch 4` cannot be shared out to 3 processes equally");
        assert_eq!(error.hint(), Some("use a multiple of 3, such as 6"));
    }
}
