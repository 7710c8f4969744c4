//! Collects the tensors in the dictionaries of a pickle, at any depth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::pickle::{Id, Pickle, Value};
use super::view::View;
use crate::{Error, Result};

/// The greatest depth that is searched, and the longest key that counts as a name.
const MAX_DEPTH: usize = 16;
const MAX_KEY: usize = 256;

/// The limit in bytes for the names of all tensors and dictionaries. A file can repeat a long key once per byte.
const MAX_COST: usize = 1 << 26;

/// Upper bound of the bytes that an entry takes besides its name.
const ENTRY_COST: usize = 256;

/// A tensor, and the length in bytes of its name's prefix: the keys of the enclosing dictionaries, each followed by a dot.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) view: View,
    pub(super) path: usize,
}

/// The tensors of a pickle by name: the keys of the enclosing dictionaries and the tensor's own key, joined by dots.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) leaves: BTreeMap<String, Leaf>,
    /// Names that several tensors have.
    pub(super) repeated: BTreeSet<String>,
    cost: usize,
}

impl Tree {
    /// Walks the dictionaries, lists and tuples of `pickle` breadth-first, visiting each once.
    ///
    /// # Errors
    ///
    /// If it holds no tensors, a damaged tensor, or more tensors than any checkpoint does.
    pub(super) fn new(pickle: &Pickle) -> Result<Self> {
        let mut tree = Self::default();
        let mut seen = vec![false; pickle.values().len()];
        let mut queue = VecDeque::from([(pickle.root(), String::new(), 0)]);
        while let Some((id, path, depth)) = queue.pop_front() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            tree.each_item(pickle, id, |tree, key, value| {
                if let Some(view) = View::find(pickle, value) {
                    let leaf = Leaf { view: view?, path: path.len() };
                    return tree.add(format!("{path}{key}"), leaf);
                }
                let is_container = matches!(pickle.get(value), Value::Dict(_) | Value::List(_) | Value::Tuple(_));
                if is_container && depth < MAX_DEPTH && !seen[value] {
                    let path = format!("{path}{key}.");
                    tree.pay(path.len())?;
                    queue.push_back((value, path, depth + 1));
                }
                Ok(())
            })?;
        }
        if tree.leaves.is_empty() { Err(no_tensors(pickle)) } else { Ok(tree) }
    }

    /// Calls `take` with each item of a dictionary by name, or of a list or tuple by index.
    fn each_item(
        &mut self,
        pickle: &Pickle,
        id: Id,
        mut take: impl FnMut(&mut Self, &str, Id) -> Result<()>,
    ) -> Result<()> {
        let is_worth_it = |value: Id| {
            matches!(pickle.get(value), Value::Call(..) | Value::Dict(_) | Value::List(_) | Value::Tuple(_))
        };
        match pickle.get(id) {
            Value::Dict(items) => {
                for &(key, value) in items.iter().filter(|&&(_, value)| is_worth_it(value)) {
                    match pickle.get(key) {
                        Value::Text(key) if key.len() <= MAX_KEY => take(self, key, value)?,
                        Value::Int(key) => take(self, &key.to_string(), value)?,
                        _ => {}
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (place, &value) in items.iter().enumerate().filter(|&(_, &value)| is_worth_it(value)) {
                    take(self, &place.to_string(), value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, name: String, leaf: Leaf) -> Result<()> {
        self.pay(name.len())?;
        if let Some(earlier) = self.leaves.get(&name) {
            if earlier.view != leaf.view {
                self.repeated.insert(name);
            }
        } else {
            self.leaves.insert(name, leaf);
        }
        Ok(())
    }

    fn pay(&mut self, bytes: usize) -> Result<()> {
        self.cost += bytes + ENTRY_COST;
        if self.cost > MAX_COST {
            return Err(Error::new("it describes more tensors than any checkpoint has"));
        }
        Ok(())
    }
}

fn no_tensors(pickle: &Pickle) -> Error {
    let class_of = |id: Id| match pickle.get(id) {
        Value::Call(callable, _) => Some(match pickle.get(*callable) {
            Value::Global(module, name) => format!("an object of the Python class `{module}.{name}`"),
            _ => "a Python object".into(),
        }),
        _ => None,
    };
    let hint = "save the weights alone: `torch.save(model.state_dict(), FILE)`";
    let Value::Dict(items) = pickle.get(pickle.root()) else {
        let class = class_of(pickle.root()).unwrap_or_else(|| "a Python object".into());
        return Error::new(format!("it contains {class} instead of a state dict")).with_hint(hint);
    };
    let keys = items.iter().filter_map(|&(key, _)| pickle.text(key)).filter(|key| key.len() <= MAX_KEY);
    let keys: BTreeSet<_> = keys.take(8).collect();
    Error::new(format!("it contains no tensors; its keys are {keys:?}")).with_hint(hint)
}
