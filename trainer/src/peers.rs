//! Several processes that train one style together, one for each GPU: data-parallel training.
//!
//! Each process takes its [`Share`] of every batch. Every mean over the batch (magnitudes of content features,
//! gradients, figures) is averaged over the processes, as it is over the micro-batches of a process
//! ([`crate::micro_batches`]). So the losses equal those of one process with the same batch, up to the order of sums, and
//! every process makes the same step. The first process writes the files.
//!
//! Environment variables of the usual launchers give the rank of the process and the number of processes (`launcher`). The
//! processes connect over TCP (`star`). Sums are also sent over TCP if NCCL is not used.

mod launcher;
#[cfg(feature = "nccl")]
mod nccl;
mod share;
mod star;

use candle_core::{DType, Device, Tensor};
use impasto_common::Result;

pub use self::launcher::Seat;
pub use self::share::Share;
use self::star::Star;

/// The connection of this process to the other processes of the training. A single process exchanges nothing.
#[derive(Debug)]
pub struct Peers {
    seat: Seat,
    star: Option<Star>,
    #[cfg(feature = "nccl")]
    ring: Option<nccl::Ring>,
}

impl Peers {
    /// A single process.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            seat: Seat::ALONE,
            star: None,
            #[cfg(feature = "nccl")]
            ring: None,
        }
    }

    /// Connects to the other processes, and waits for all of them.
    ///
    /// # Errors
    ///
    /// If one of them does not connect, or the network fails.
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
        peers.barrier()?;
        Ok(peers)
    }

    /// The portion of every batch that this process trains on.
    #[must_use]
    pub fn share(&self) -> Share {
        self.seat.share()
    }

    /// Waits until every process has reached this point.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
    pub fn barrier(&mut self) -> Result<()> {
        self.mean_of(0.0).map(drop)
    }

    /// The mean of a number over all processes.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
    pub fn mean_of(&mut self, number: f64) -> Result<f64> {
        let Some(star) = &mut self.star else { return Ok(number) };
        let sum = star.sum(&[number as f32])?;
        Ok(f64::from(sum.first().copied().unwrap_or_default()) / self.seat.count as f64)
    }

    /// Whether `own` is true in at least one process.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
    pub fn any(&mut self, own: bool) -> Result<bool> {
        Ok(self.mean_of(f64::from(u8::from(own)))? > 0.0)
    }

    /// The mean of an f32 tensor over all processes, value by value.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
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
    /// If the connection to another process is lost.
    pub fn means(&mut self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        if self.star.is_none() {
            return Ok(tensors);
        }
        let flat = tensors.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        let mean = self.mean(Tensor::cat(&flat, 0)?)?;
        let mut first = 0;
        let means = tensors.iter().map(|tensor| {
            let mean = mean.narrow(0, first, tensor.elem_count())?.reshape(tensor.shape())?;
            first += tensor.elem_count();
            Ok(mean)
        });
        means.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_process_changes_nothing() {
        let mut peers = Peers::alone();
        assert_eq!(peers.share(), Share::WHOLE);
        assert!(Seat::ALONE.writes());
        peers.barrier().unwrap();
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
}
