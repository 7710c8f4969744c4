//! Chooses among the algorithms that cuDNN proposes for a convolution.
//!
//! Algorithms are not timed at run time: timings differ from run to run and algorithms round differently, so results would
//! differ too.

use std::fmt;

/// The largest workspace that an algorithm may ask for, bytes.
pub(super) const LARGEST_WORKSPACE: usize = 1 << 30;

/// The arithmetic of an algorithm: cuDNN's `mathType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// Without tensor cores: `DEFAULT` or `FMA`.
    Plain,
    /// On tensor cores. Factors of f32 are rounded to TF32 or less.
    TensorCores,
}

/// An algorithm proposed by cuDNN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    /// cuDNN's name of the algorithm.
    pub(super) name: String,
    /// cuDNN's status; `Ok` if the algorithm can compute the convolution.
    pub(super) status: Result<(), String>,
    /// Whether it gives the same bytes every time.
    pub(super) deterministic: bool,
    /// Its arithmetic.
    pub(super) arithmetic: Arithmetic,
    /// Bytes of its workspace.
    pub(super) memory: usize,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.as_ref().err().map_or("usable", String::as_str);
        let determinism = if self.deterministic { "deterministic" } else { "not deterministic" };
        write!(f, "{}: {status}, {determinism}, {:?}, {} bytes", self.name, self.arithmetic, self.memory)
    }
}

/// The arithmetic that a convolution requires of its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// f32 that must not be rounded to TF32.
    OnlyPlain,
    /// What cuDNN expects to be fastest: f32 that may be rounded to TF32.
    Fastest,
    /// Tensor cores if any algorithm uses them: bf16 and f16, which lose nothing there.
    RatherTensorCores,
}

/// The index of the proposal to take. `proposals` are in cuDNN's order, the one it expects to be fastest first.
pub(super) fn choose(proposals: &[Proposal], wanted: Wanted) -> Option<usize> {
    let passes = |proposal: &Proposal| {
        proposal.status.is_ok()
            && proposal.deterministic
            && proposal.memory <= LARGEST_WORKSPACE
            && (wanted != Wanted::OnlyPlain || proposal.arithmetic == Arithmetic::Plain)
    };
    let on_tensor_cores = |proposal: &Proposal| passes(proposal) && proposal.arithmetic == Arithmetic::TensorCores;
    let preferred = if wanted == Wanted::RatherTensorCores { proposals.iter().position(on_tensor_cores) } else { None };
    preferred.or_else(|| proposals.iter().position(passes))
}

/// All proposals, for an error message.
pub(super) fn table(proposals: &[Proposal]) -> String {
    let lines: Vec<_> = proposals.iter().map(|proposal| format!("\n  {proposal}")).collect();
    if lines.is_empty() { "\n  none".into() } else { lines.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(name: &str, arithmetic: Arithmetic) -> Proposal {
        Proposal { name: name.into(), status: Ok(()), deterministic: true, arithmetic, memory: 0 }
    }

    #[test]
    fn the_first_proposal_that_passes_is_chosen() {
        let plain = |name| proposal(name, Arithmetic::Plain);
        let proposals = [
            Proposal { status: Err("NOT_SUPPORTED".into()), ..plain("unusable") },
            Proposal { deterministic: false, ..plain("random") },
            Proposal { memory: LARGEST_WORKSPACE + 1, ..plain("large") },
            plain("good"),
            plain("slower"),
        ];
        for wanted in [Wanted::OnlyPlain, Wanted::Fastest, Wanted::RatherTensorCores] {
            assert_eq!(choose(&proposals, wanted), Some(3));
            assert_eq!(choose(&proposals[..3], wanted), None);
        }
    }

    #[test]
    fn tensor_cores_are_preferred_for_16_bits_and_refused_for_strict_f32() {
        let (plain, tensor) = (proposal("plain", Arithmetic::Plain), proposal("tensor", Arithmetic::TensorCores));
        let plain_first = [plain.clone(), tensor.clone()];
        assert_eq!(choose(&plain_first, Wanted::RatherTensorCores), Some(1));
        assert_eq!(choose(&plain_first, Wanted::Fastest), Some(0));
        assert_eq!(choose(&[tensor.clone(), plain], Wanted::OnlyPlain), Some(1));
        assert_eq!(choose(&[tensor], Wanted::OnlyPlain), None);
    }

    #[test]
    fn the_table_lists_every_proposal() {
        let refused = Proposal {
            status: Err("CUDNN_STATUS_NOT_SUPPORTED".into()),
            deterministic: false,
            memory: 7,
            ..proposal("ALGO_0", Arithmetic::Plain)
        };
        let expected = "\n  ALGO_0: CUDNN_STATUS_NOT_SUPPORTED, not deterministic, Plain, 7 bytes\n  \
                        ALGO_1: usable, deterministic, TensorCores, 0 bytes";
        assert_eq!(table(&[refused, proposal("ALGO_1", Arithmetic::TensorCores)]), expected);
        assert_eq!(table(&[]), "\n  none");
    }
}
