//! How many steps fit into a number of minutes.

use std::time::Instant;

use impasto_common::Result;

use super::Observer;
use super::setup::Setup;
use crate::adam::Gradients;
use crate::micro_batches::MicroBatches;
use crate::peers::Peers;
use crate::snapshot::TrainingState;

/// Steps that are timed. The first one is not counted: it allocates memory and loads kernels.
const TIMED: usize = 6;

/// The share of the time that is left for updates of the weights, snapshots and contact sheets.
const RESERVE: f64 = 0.06;

/// The number of steps that end `minutes` after `begun`: at least one.
///
/// It times a few steps without updating the weights. So the result depends on the machine and its load.
///
/// # Errors
///
/// As [`crate::step::TrainingStep::compute`].
pub(super) fn steps_in(
    minutes: f64,
    begun: Instant,
    setup: &Setup,
    state: &TrainingState,
    micro_batches: &mut MicroBatches,
    peers: &mut Peers,
    observer: &mut dyn Observer,
) -> Result<usize> {
    let (network, mut loader) = setup.start_from(state)?;
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let batch = loader.take()?;
        let start = Instant::now();
        let (gradients, _) = setup.step(&network, state).compute(&batch, micro_batches, peers, observer)?;
        wait_for(&gradients)?;
        times.push(start.elapsed().as_secs_f64());
    }
    // Every process must come to the same number.
    let seconds = peers.mean_of(median(times.split_off(1)))?;
    let used = peers.mean_of(begun.elapsed().as_secs_f64())?;
    Ok(steps_within(60.0 * minutes, used, seconds))
}

/// Waits until a GPU has computed `gradients`.
fn wait_for(gradients: &Gradients) -> Result<()> {
    gradients.norm()?.to_scalar::<f32>()?;
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The number of steps of `seconds` each within `whole` seconds, of which `used` are over: at least one.
fn steps_within(whole: f64, used: f64, seconds: f64) -> usize {
    let left = (whole - used) * (1.0 - RESERVE);
    ((left / seconds.max(1e-6)) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fill_the_time_that_is_left_and_there_is_always_one() {
        assert_eq!(steps_within(60.0, 10.0, 0.5), 94);
        assert_eq!(steps_within(60.0, 70.0, 0.5), 1);
        // So long that no clock counts it.
        assert!(steps_within(1e300, 1.0, 0.5) > 1 << 40);
        assert!((median(vec![3.0, 1.0, 9.0]) - 3.0).abs() < 1e-9);
    }
}
