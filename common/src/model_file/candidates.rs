//! Finds the network in a file that has no card: in a checkpoint it lies beside other things, under any keys, and wrappers
//! put words before every name.
//!
//! Keys and wrappers are the same here: whatever stands before the names that the network's own description gives.

use std::io::{Read, Seek};

use super::{FIRST_WEIGHT, are_sizes_of_a_style};
use crate::network::StyleNetConfig;
use crate::weights::{Listing, Tensors, WeightFile};
use crate::{Error, Result};

/// Tensors whose names, but for a prefix, are those of a network of the family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// What stands before every name: nothing, or words with a dot behind each.
    pub(super) prefix: String,
    /// The sizes that the tensors are of.
    pub(super) network: StyleNetConfig,
}

impl Candidate {
    /// All candidates among these tensors, in name order.
    pub(super) fn all(listing: &Listing) -> Vec<Self> {
        let prefix = |name: &str| {
            let prefix = name.strip_suffix(FIRST_WEIGHT)?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
        };
        let candidates = listing.iter().filter_map(|(name, first)| {
            let prefix = prefix(name)?;
            let block = |i: &usize| listing.contains_key(&format!("{prefix}res{i}.conv1.conv2d.weight"));
            let blocks = (1..=listing.len()).take_while(block).count();
            let channels = first.shape.first().copied().unwrap_or(0);
            Some(Self { prefix, network: StyleNetConfig { channels, blocks } })
        });
        candidates.collect()
    }

    /// Whether every tensor of the network is there in its shape.
    fn is_whole(&self, listing: &Listing) -> bool {
        are_sizes_of_a_style(self.network)
            && self.network.network().tensors().iter().all(|(name, shape)| {
                listing.get(&format!("{}{name}", self.prefix)).is_some_and(|listed| listed.shape == *shape)
            })
    }

    /// The names in the file of those of its tensors that are there.
    fn names(&self, listing: &Listing) -> Vec<String> {
        let tensors = self.network.network().tensors().into_iter();
        tensors.map(|(name, _)| format!("{}{name}", self.prefix)).filter(|name| listing.contains_key(name)).collect()
    }

    /// Reads its tensors, under the network's own names.
    ///
    /// # Errors
    ///
    /// If one is damaged, or of a type that weights are not of.
    pub(super) fn read<R: Read + Seek>(&self, file: &mut WeightFile<R>) -> Result<Tensors> {
        let names = self.names(file.listing());
        Ok(self.take(&mut file.read(&names)?))
    }

    /// Takes its tensors out of those that were read.
    fn take(&self, tensors: &mut Tensors) -> Tensors {
        let names = self.network.network().tensors().into_iter();
        names
            .filter_map(|(name, _)| tensors.remove(&format!("{}{name}", self.prefix)).map(|array| (name, array)))
            .collect()
    }

    /// Whether all tensors of two whole candidates of the same sizes lie in the same place of the file.
    fn is_same<R: Read + Seek>(&self, other: &Self, file: &WeightFile<R>) -> bool {
        let mut names = self.network.network().tensors().into_iter().map(|(name, _)| name);
        names.all(|name| file.is_same(&format!("{}{name}", self.prefix), &format!("{}{name}", other.prefix)))
    }

    fn place(&self) -> String {
        match self.prefix.strip_suffix('.') {
            Some(prefix) => format!("`{prefix}`"),
            None => "the top level".into(),
        }
    }
}

/// Reads the one network in `file`: its sizes and its tensors.
///
/// # Errors
///
/// If there is none, or several whose weights differ: all are listed. If no network is whole and there is but one, it is
/// read as far as it is there.
pub(super) fn read_the_one<R: Read + Seek>(file: &mut WeightFile<R>) -> Result<(StyleNetConfig, Tensors)> {
    let candidates = Candidate::all(file.listing());
    let whole: Vec<_> = candidates.iter().filter(|candidate| candidate.is_whole(file.listing())).cloned().collect();
    match (&whole[..], &candidates[..]) {
        ([], []) => Err(another_network(file.listing())),
        ([], [part]) if are_sizes_of_a_style(part.network) => Ok((part.network, part.read(file)?)),
        ([], [part]) => Err(super::no_style_network(part.network)),
        ([], parts) => Err(several(parts)),
        ([first, others @ ..], _) if others.len() < MOST => match read_equal(first, others, file)? {
            Some(tensors) => Ok((first.network, tensors)),
            None => Err(several(&whole)),
        },
        _ => Err(several(&whole)),
    }
}

/// The tensors of whole candidates if all have equal values: the best network so far is often the last one too.
fn read_equal<R: Read + Seek>(
    first: &Candidate,
    others: &[Candidate],
    file: &mut WeightFile<R>,
) -> Result<Option<Tensors>> {
    if others.iter().any(|other| other.network != first.network) {
        return Ok(None);
    }
    let copies: Vec<_> = others.iter().filter(|other| !other.is_same(first, file)).collect();
    let names: Vec<_> =
        [first].into_iter().chain(copies.iter().copied()).flat_map(|one| one.names(file.listing())).collect();
    let mut tensors = file.read(&names)?;
    let of_first = first.take(&mut tensors);
    Ok(copies.iter().all(|copy| copy.take(&mut tensors) == of_first).then_some(of_first))
}

/// How many networks are compared, to see whether all are one.
const MOST: usize = 32;

/// How many places are listed, and how many letters of a name are shown.
const SHOWN: usize = 8;
const SHOWN_LETTERS: usize = 100;

fn several(candidates: &[Candidate]) -> Error {
    let mut places: Vec<_> = candidates.iter().take(SHOWN).map(Candidate::place).collect();
    if candidates.len() > SHOWN {
        places.push(format!("{} more", candidates.len() - SHOWN));
    }
    Error::new(format!("it holds {} different networks: {}", candidates.len(), places.join(", ")))
        .with_hint("save the one you want in a file of its own: `torch.save(torch.load(FILE)[KEY], OUTPUT)` in Python")
}

fn another_network(listing: &Listing) -> Error {
    let shown = |name: &String| format!("`{}`", name.chars().take(SHOWN_LETTERS).collect::<String>());
    let found: Vec<_> = listing.keys().take(3).map(shown).collect();
    let found = match listing.len() {
        0 => "no tensors".into(),
        count => format!("{} .. ({count} tensors)", found.join(", ")),
    };
    Error::new(format!("it holds another network: expected `{FIRST_WEIGHT}`, found {found}"))
        .with_hint("networks of this trainer and of pytorch/examples' fast_neural_style can be loaded")
}
