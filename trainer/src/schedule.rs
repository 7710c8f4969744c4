//! Learning-rate schedules.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The learning-rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// A constant rate, as in Johnson et al. (2016).
    Constant,
    /// Linear decay to zero.
    Linear,
    /// Cosine decay to zero (Loshchilov and Hutter, 2017). After a short training, pictures are smoother than with a constant
    /// rate.
    #[default]
    Cosine,
}

impl Schedule {
    /// All schedules.
    pub const ALL: [Self; 3] = [Self::Constant, Self::Linear, Self::Cosine];

    /// The factor for the learning rate in the step after `done` of `steps` steps, in `(0, 1]`.
    ///
    /// It rises linearly over the first `warmup` steps.
    #[must_use]
    pub fn factor(self, done: usize, steps: usize, warmup: usize) -> f64 {
        if done < warmup {
            return (done + 1) as f64 / warmup as f64;
        }
        let progress = (done - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - progress,
            Self::Cosine => f64::midpoint(1.0, (PI * progress).cos()),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        })
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|schedule| schedule.to_string() == text);
        found.ok_or_else(|| "expected `constant`, `linear` or `cosine`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(schedule: Schedule, warmup: usize) -> Vec<f64> {
        (0..4).map(|done| schedule.factor(done, 4, warmup)).collect()
    }

    #[test]
    fn every_schedule_starts_at_the_full_rate() {
        assert_eq!(course(Schedule::Constant, 0), [1.0; 4]);
        assert_eq!(course(Schedule::Linear, 0), [1.0, 0.75, 0.5, 0.25]);
        let cosine = course(Schedule::Cosine, 0);
        for (factor, expected) in cosine.into_iter().zip([1.0, 0.853_553_390_593_273_7, 0.5, 0.146_446_609_406_726_3]) {
            assert!((factor - expected).abs() < 1e-15, "{factor} is not {expected}");
        }
    }

    #[test]
    fn a_warm_up_rises_in_a_straight_line_and_ends_at_the_full_rate() {
        assert_eq!(course(Schedule::Linear, 2), [0.5, 1.0, 1.0, 0.5]);
    }

    #[test]
    fn a_warm_up_as_long_as_the_run_does_not_divide_by_zero() {
        assert!(Schedule::Linear.factor(4, 4, 4).is_finite());
    }
}
