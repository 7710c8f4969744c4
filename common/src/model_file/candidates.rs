//! Finds the network in a file that has no card. A checkpoint stores it next to other data, under any keys, and wrappers
//! add a prefix to every name.
//!
//! Keys and wrappers are treated alike, as a prefix of the names that the network's description gives.

use std::io::{Read, Seek};

use super::{FIRST_WEIGHT, are_sizes_of_a_style};
use crate::network::StyleNetConfig;
use crate::weights::{Listing, Tensors, WeightFile};
use crate::{Error, Result};

/// Tensors whose names, without a common prefix, are those of a network of the family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The prefix of every name: empty, or words each followed by a dot.
    pub(super) prefix: String,
    /// The network sizes derived from the tensors.
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

    /// Whether every tensor of the network is present with its shape.
    fn is_whole(&self, listing: &Listing) -> bool {
        are_sizes_of_a_style(self.network)
            && self.network.network().tensors().iter().all(|(name, shape)| {
                listing.get(&format!("{}{name}", self.prefix)).is_some_and(|listed| listed.shape == *shape)
            })
    }

    /// The names, as in the file, of the candidate's tensors that are present.
    fn names(&self, listing: &Listing) -> Vec<String> {
        let tensors = self.network.network().tensors().into_iter();
        tensors.map(|(name, _)| format!("{}{name}", self.prefix)).filter(|name| listing.contains_key(name)).collect()
    }

    /// Reads its tensors, under the network's own names.
    ///
    /// # Errors
    ///
    /// If a tensor is damaged, or its type cannot hold weights.
    pub(super) fn read<R: Read + Seek>(&self, file: &mut WeightFile<R>) -> Result<Tensors> {
        let names = self.names(file.listing());
        Ok(self.take(&mut file.read(&names)?))
    }

    /// Takes the candidate's tensors out of those that were read.
    fn take(&self, tensors: &mut Tensors) -> Tensors {
        let names = self.network.network().tensors().into_iter();
        names
            .filter_map(|(name, _)| tensors.remove(&format!("{}{name}", self.prefix)).map(|array| (name, array)))
            .collect()
    }

    /// Whether two complete candidates of the same sizes share all their storage in the file.
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
/// If there is none, or several whose weights differ: all are listed. If no network is complete and there is only one
/// candidate, the tensors that are present are read.
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

/// The tensors of the complete candidates if their values are all equal: a checkpoint's best network is often its last one
/// too.
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

/// How many networks are compared to see whether they are all the same.
const MOST: usize = 32;

/// How many places an error lists, and how many characters of a name it shows.
const SHOWN: usize = 8;
const SHOWN_LETTERS: usize = 100;

fn several(candidates: &[Candidate]) -> Error {
    let mut places: Vec<_> = candidates.iter().take(SHOWN).map(Candidate::place).collect();
    if candidates.len() > SHOWN {
        places.push(format!("{} more", candidates.len() - SHOWN));
    }
    Error::new(format!("it contains {} different networks: {}", candidates.len(), places.join(", ")))
        .with_hint("save the one you want to its own file: `torch.save(torch.load(FILE)[KEY], OUTPUT)` in Python")
}

fn another_network(listing: &Listing) -> Error {
    let shown = |name: &String| format!("`{}`", name.chars().take(SHOWN_LETTERS).collect::<String>());
    let found: Vec<_> = listing.keys().take(3).map(shown).collect();
    let found = match listing.len() {
        0 => "no tensors".into(),
        count => format!("{} .. ({count} tensors)", found.join(", ")),
    };
    Error::new(format!("it is a different network: expected `{FIRST_WEIGHT}`, found {found}"))
        .with_hint("only networks of this trainer and of pytorch/examples' fast_neural_style can be loaded")
}
