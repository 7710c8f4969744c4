//! Reads the part of Python's pickle format that PyTorch's state dicts use, as plain data: no function named in a file is
//! ever called.
//!
//! candle's reader panics on malicious files, allocates the lengths that they claim, and prints. This reader bounds its
//! work and memory, and returns errors. Its values are in one arena, because a file may nest them so deeply that dropping
//! them recursively would overflow the stack. The opcodes are those of Python's `pickletools`, protocols 1 to 5.

use std::collections::HashMap;
use std::io::{BufRead, Read, Take};

use crate::{Error, Result};

/// The longest pickle that is read. State dicts take a few hundred bytes per tensor; the weights are stored outside the
/// pickle.
const MAX_BYTES: u64 = 1 << 24;

/// The longest name of a class or function; a file can refer to a name once per byte, so long names would multiply memory
/// use.
const MAX_NAME: usize = 256;

/// A value's place in its [`Pickle`].
pub(super) type Id = usize;

/// A pickled value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`, booleans, floats, bytes, and strings that are not Unicode: no caller needs their values.
    Other,
    /// An integer.
    Int(i64),
    /// A string.
    Text(String),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, ordered or not, as pairs in file order.
    Dict(Vec<(Id, Id)>),
    /// A class or function by module and name.
    Global(String, String),
    /// The unevaluated call of a class or function with a tuple of arguments.
    Call(Id, Id),
    /// A reference to something outside the pickle.
    Persistent(Id),
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle and leaves `reader` positioned right after it.
    ///
    /// # Errors
    ///
    /// If the pickle is cut short, damaged, longer than 16 MiB, or uses an opcode that no state dict needs.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Self> {
        let reader = reader.take(MAX_BYTES);
        let mut machine = Machine { reader, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new() };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    /// The outermost value.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// All values, in the order in which they were made.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value at `id`.
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// The string at `id`, if it is one.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer at `id`, if it is one and not negative.
    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The items of the tuple or list at `id`, if it is one.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }
}

/// Python's unpickling machine: a stack of values, marks in it, and a memo.
struct Machine<R> {
    reader: Take<R>,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: BufRead> Machine<R> {
    /// Runs one opcode; `false` after the last.
    fn step(&mut self) -> Result<bool> {
        let opcode = self.byte()?;
        match opcode {
            0x80 => drop(self.byte()?),   // PROTO
            0x95 => drop(self.bytes(8)?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            // POP, and BUILD, which sets attributes; a state dict uses them for version numbers only.
            b'0' | b'b' => drop(self.pop()?),
            b'.' => return Ok(false),
            b'1' => drop(self.pop_to_mark()?), // POP_MARK
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
            }
            b'q' | b'r' | 0x94 => self.memoize(opcode)?,
            b'h' | b'j' => self.recall(opcode)?,
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => self.skip_float()?,
            b'J' | b'K' | b'M' | 0x8A | 0x8B => self.integer(opcode)?,
            b'X' | 0x8C | 0x8D | b'T' | b'U' | b'B' | b'C' | 0x8E | 0x96 => self.string(opcode)?,
            b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
            b']' | 0x8F => self.push(Value::List(vec![])),
            b'}' => self.push(Value::Dict(vec![])),
            b'l' | b'd' | 0x91 => self.collection(opcode)?,
            b'a' | b'e' | 0x90 => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'R' | 0x81 => self.call()?,
            0x92 => {
                // NEWOBJ_EX: keyword arguments lie above the others.
                self.pop()?;
                self.call()?;
            }
            b'Q' => {
                let reference = self.pop()?;
                self.push(Value::Persistent(reference));
            }
            _ => return Err(Error::new(format!("its pickle has an unexpected opcode {opcode:#04x}"))),
        }
        Ok(true)
    }

    /// Reads one byte out of the buffer: a pickle is read byte by byte, and a vector for each takes most of the time.
    fn byte(&mut self) -> Result<u8> {
        let buffer = self.reader.fill_buf().map_err(|error| damaged().with_source(error))?;
        let byte = *buffer.first().ok_or_else(damaged)?;
        self.reader.consume(1);
        Ok(byte)
    }

    /// Reads the bytes that exist and then compares the length, so a false length does not cause a large allocation.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(count).read_to_end(&mut bytes).map_err(|error| damaged().with_source(error))?;
        if bytes.len() as u64 == count { Ok(bytes) } else { Err(damaged()) }
    }

    fn unsigned(&mut self, width: u64) -> Result<u64> {
        (0..width).try_fold(0, |number, place| Ok(number | u64::from(self.byte()?) << (8 * place)))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id> {
        // Nothing below a mark may be popped before the mark.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor { self.stack.pop().ok_or_else(damaged) } else { Err(damaged()) }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(damaged)?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Value> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values[id])
    }

    fn memoize(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'q' => self.unsigned(1)? as u32,
            b'r' => self.unsigned(4)? as u32,
            _ => self.memo.len() as u32,
        };
        let id = self.pop()?;
        self.stack.push(id);
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<()> {
        let key = self.unsigned(if opcode == b'h' { 1 } else { 4 })? as u32;
        self.stack.push(*self.memo.get(&key).ok_or_else(damaged)?);
        Ok(())
    }

    fn skip_float(&mut self) -> Result<()> {
        self.bytes(8)?;
        self.push(Value::Other);
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'J' => i64::from(self.unsigned(4)? as u32 as i32),
            b'K' => self.unsigned(1)? as i64,
            b'M' => self.unsigned(2)? as i64,
            _ => return self.long(if opcode == 0x8A { 1 } else { 4 }),
        };
        self.push(Value::Int(value));
        Ok(())
    }

    /// An integer of any length. One too large to be a size is treated as an opaque value.
    fn long(&mut self, width: u64) -> Result<()> {
        let length = self.unsigned(width)?;
        let bytes = self.bytes(length)?;
        let mut number = [if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xFF } else { 0 }; 8];
        let fits = bytes.len() <= number.len();
        number.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        self.push(if fits { Value::Int(i64::from_le_bytes(number)) } else { Value::Other });
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Result<()> {
        let width = match opcode {
            0x8C | b'U' | b'C' => 1,
            0x8D | 0x8E | 0x96 => 8,
            _ => 4,
        };
        let length = self.unsigned(width)?;
        let bytes = self.bytes(length)?;
        // Python 2 wrote names as byte strings, and data too.
        let is_text = !matches!(opcode, b'B' | b'C' | 0x8E | 0x96);
        let text = String::from_utf8(bytes).ok().filter(|_| is_text);
        self.push(text.map_or(Value::Other, Value::Text));
        Ok(())
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b')' => vec![],
            b't' => self.pop_to_mark()?,
            _ => {
                let mut items = (0x85..=opcode).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn collection(&mut self, opcode: u8) -> Result<()> {
        let items = self.pop_to_mark()?;
        self.push(if opcode == b'd' { Value::Dict(pairs(&items)) } else { Value::List(items) });
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Result<()> {
        let added = if opcode == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        match self.top()? {
            Value::List(items) => items.extend(added),
            // Appending to an object of an unknown class is ignored: no caller needs its contents.
            Value::Call(..) => {}
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<()> {
        let added = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.pop_to_mark()?
        };
        match self.top()? {
            Value::Dict(items) => items.extend(pairs(&added)),
            Value::Call(..) => {}
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let text = |id: Id| match &self.values[id] {
                Value::Text(text) if text.len() <= MAX_NAME => Ok(text.clone()),
                _ => Err(damaged()),
            };
            (text(module)?, text(name)?)
        };
        self.push(Value::Global(module, name));
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(|error| damaged().with_source(error))?;
        line.strip_suffix('\n').map(str::to_owned).ok_or_else(damaged)
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let is_empty = self.values[arguments] == Value::Tuple(vec![]);
        let is_dict = match &self.values[callable] {
            Value::Global(module, name) if module == "collections" => match name.as_str() {
                "OrderedDict" => is_empty,
                // The argument of `defaultdict` is the factory for missing keys.
                "defaultdict" => true,
                _ => false,
            },
            _ => false,
        };
        self.push(if is_dict { Value::Dict(vec![]) } else { Value::Call(callable, arguments) });
        Ok(())
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|&[key, value]| (key, value)).collect()
}

fn damaged() -> Error {
    Error::new("its pickle is damaged or cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle> {
        Pickle::read(&mut &bytes[..])
    }

    /// `pickle.dumps({"a": (1, -2, 70000), "b": [2**40]}, protocol=2)`.
    const DICT: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x87q\x02\
        X\x01\x00\x00\x00bq\x03]q\x04\x8a\x06\x00\x00\x00\x00\x00\x01au.";

    #[test]
    fn a_dict_made_by_python_is_read() {
        let pickle = read(DICT).unwrap();
        let Value::Dict(items) = pickle.get(pickle.root()) else { panic!("{pickle:?}") };
        assert_eq!(items.iter().filter_map(|&(key, _)| pickle.text(key)).collect::<Vec<_>>(), ["a", "b"]);
        let tuple = pickle.items(items[0].1).unwrap();
        assert_eq!(*pickle.get(tuple[1]), Value::Int(-2));
        assert_eq!(pickle.size(tuple[2]), Some(70000));
        assert_eq!(pickle.size(tuple[1]), None);
        assert_eq!(pickle.size(pickle.items(items[1].1).unwrap()[0]), Some(1 << 40));
    }

    #[test]
    fn every_cut_is_an_error() {
        for length in 0..DICT.len() {
            assert!(read(&DICT[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_changed_byte_is_read_or_refused_without_a_panic() {
        for at in 0..DICT.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = DICT.to_vec();
                bytes[at] = byte;
                drop(read(&bytes));
            }
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing_and_deep_nesting_is_dropped() {
        assert!(read(b"X\xff\xff\xff\xffabc").is_err());
        let mut nested = vec![b')'];
        nested.resize(1 << 20, 0x85);
        nested.push(b'.');
        drop(read(&nested).unwrap());
    }

    #[test]
    fn a_long_class_name_is_not_copied_for_each_use() {
        let mut bytes = b"X\x00\x00\x10\x00".to_vec();
        bytes.resize(5 + (1 << 20), b'a');
        bytes.extend(b"q\x00h\x00\x93.");
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn other_content_of_checkpoints_is_ignored() {
        // `defaultdict(dict)` with an item, a Python 2 byte string, a frozenset, and an object made with keywords.
        let dict = read(b"ccollections\ndefaultdict\nc__builtin__\ndict\n\x85RK\x01K\x02s.").unwrap();
        assert!(matches!(dict.get(dict.root()), Value::Dict(items) if items.len() == 1));
        assert_eq!(read(b"U\x02\xff\xfe.").unwrap().values()[0], Value::Other);
        let set = read(b"(K\x01K\x02\x91.").unwrap();
        assert_eq!(set.items(set.root()).map(<[_]>::len), Some(2));
        let object = read(b"ca\nB\n)}\x92.").unwrap();
        assert!(matches!(object.get(object.root()), Value::Call(..)));
    }

    #[test]
    fn a_class_is_named_and_not_called() {
        let pickle = read(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap();
        let Value::Call(callable, _) = *pickle.get(pickle.root()) else { panic!("{pickle:?}") };
        assert_eq!(*pickle.get(callable), Value::Global("os".into(), "system".into()));
    }
}
