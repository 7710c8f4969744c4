//! Sums over GPUs with NCCL.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Device, Layout, Shape, Tensor};
use impasto_common::{Error, Result};

use super::Seat;
use super::star::Star;

/// The NCCL communicator of all processes' GPUs.
#[derive(Debug)]
pub(super) struct Ring(Comm);

impl Ring {
    /// Connects to the other processes; `None` if a process computes on its CPU.
    pub(super) fn form(seat: &Seat, star: &mut Star, device: &Device) -> Result<Option<Self>> {
        // All processes must agree; otherwise some would wait forever.
        let with_gpu = star.sum(&[f32::from(u8::from(device.is_cuda()))])?;
        if with_gpu != [seat.count as f32] {
            return Ok(None);
        }
        let id = if seat.index == 0 { *Id::new().map_err(failed)?.internal() } else { [0; 128] };
        let id = Id::uninit(star.hand_out(id.map(|byte| byte as u8))?.map(|byte| byte as _));
        let stream = device.as_cuda_device()?.cuda_stream();
        Ok(Some(Self(Comm::from_rank(stream, seat.index, seat.count, id).map_err(failed)?)))
    }

    /// The sum of a contiguous f32 tensor over all processes.
    pub(super) fn sum(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.detach().contiguous()?.apply_op1_no_bwd(&Sum(&self.0))?)
    }
}

fn failed(error: impl std::fmt::Debug) -> Error {
    Error::new(format!("NCCL failed: {error:?}"))
        .with_hint("check that the dynamic loader can find `libnccl`; `NCCL_DEBUG=WARN` shows details")
}

struct Sum<'a>(&'a Comm);

impl CustomOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "nccl-sum"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("NCCL sums on GPUs only")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("expected a contiguous tensor")
        };
        let device = storage.device();
        let values = storage.as_cuda_slice::<f32>()?.slice(start..end);
        let mut sums = device.alloc_zeros::<f32>(end - start)?;
        let summed = self.0.all_reduce(&values, &mut sums, &ReduceOp::Sum);
        summed.map_err(|error| candle_core::Error::msg(format!("NCCL failed: {error:?}")))?;
        Ok((CudaStorage::wrap_cuda_slice(sums, device.clone()), layout.shape().clone()))
    }
}
