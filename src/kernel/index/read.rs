//! Reads an index. Nothing in the file is trusted: every offset is checked, and the nodes visited
//! are counted, so that a file whose nodes point at each other ends in an error.

use super::Value;
use super::format::{
    CHILD_MAX, FLAG_CHILDREN, FLAG_PREFIX, FLAG_VALUES, HEADER, KEY_MAX, MAGIC, OFFSET, VERSION,
};

/// Why bytes are not an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The first word is another.
    #[error("a module index starts with {MAGIC:#010x}, this file with {0:#010x}")]
    Magic(u32),
    /// A version that this code does not know.
    #[error("module index version {0:#010x}, expected {VERSION:#010x}")]
    Version(u32),
    /// Something lies outside of the file.
    #[error("the module index refers to byte {0}, which is outside of it")]
    Outside(usize),
    /// The nodes form a loop, or are shared.
    #[error("the nodes of the module index do not form a tree")]
    NotATree,
    /// A key that is too long.
    #[error("a key of the module index is longer than {KEY_MAX} bytes")]
    LongKey,
}

/// A key and its values.
pub type Entry = (Vec<u8>, Vec<Value>);

/// An index over its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    bytes: &'a [u8],
    root: u32,
}

#[derive(Debug)]
struct Node<'a> {
    prefix: &'a [u8],
    /// Lowest child byte and the table of offsets.
    children: (u8, &'a [u8]),
    values: Vec<Value>,
}

impl<'a> Index<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// Wrong magic or version, or too short.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IndexError> {
        let magic = word(bytes, 0)?;
        if magic != MAGIC {
            return Err(IndexError::Magic(magic));
        }
        let version = word(bytes, 4)?;
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        let root = word(bytes, 8)?;
        Ok(Self { bytes, root })
    }

    /// The values of exactly `key`; wildcards in stored keys mean nothing here.
    ///
    /// # Errors
    /// A damaged file.
    pub fn get(&self, key: &[u8]) -> Result<Vec<Value>, IndexError> {
        let mut rest = key;
        let mut at = self.root;
        loop {
            let node = self.node(at)?;
            let Some(after) = rest.strip_prefix(node.prefix) else {
                return Ok(Vec::new());
            };
            let Some((&byte, tail)) = after.split_first() else {
                return Ok(node.values);
            };
            let (first, table) = node.children;
            let Some(slot) = byte.checked_sub(first).map(usize::from) else {
                return Ok(Vec::new());
            };
            match table.chunks_exact(4).nth(slot) {
                Some(entry) => at = word(entry, 0)?,
                None => return Ok(Vec::new()),
            }
            if at == 0 {
                return Ok(Vec::new());
            }
            rest = tail;
        }
    }

    /// All keys in order, with their values.
    ///
    /// # Errors
    /// A damaged file.
    pub fn entries(&self) -> Result<Vec<Entry>, IndexError> {
        let mut out = Vec::new();
        let mut todo = vec![(Vec::new(), self.root)];
        // In a tree each byte belongs to one node, and the offset that leads to a node takes four.
        let mut budget = self.bytes.len();
        while let Some((mut key, at)) = todo.pop() {
            let node = self.node(at)?;
            let values: usize = node.values.iter().map(|value| value.text.len() + 5).sum();
            budget = budget.checked_sub(4 + values).ok_or(IndexError::NotATree)?;
            key.extend_from_slice(node.prefix);
            if key.len() > KEY_MAX {
                return Err(IndexError::LongKey);
            }
            let (first, table) = node.children;
            for (slot, entry) in table.chunks_exact(4).enumerate().rev() {
                let at = word(entry, 0)?;
                if at != 0 {
                    let mut child = key.clone();
                    child.push(first.wrapping_add(u8::try_from(slot).unwrap_or(0)));
                    todo.push((child, at));
                }
            }
            // Keys of millions of nodes that share one long prefix would fill the memory.
            if todo.len() > self.bytes.len() {
                return Err(IndexError::NotATree);
            }
            if !node.values.is_empty() {
                out.push((key, node.values));
            }
        }
        Ok(out)
    }

    fn node(&self, offset: u32) -> Result<Node<'a>, IndexError> {
        let mut at = (offset & OFFSET) as usize;
        if at < HEADER as usize {
            return Err(IndexError::Outside(at));
        }
        let mut node = Node {
            prefix: &[],
            children: (0, &[]),
            values: Vec::new(),
        };
        if offset & FLAG_PREFIX != 0 {
            node.prefix = text(self.bytes, &mut at)?;
        }
        if offset & FLAG_CHILDREN != 0 {
            let (first, last) = match self.bytes.get(at..at + 2) {
                Some(&[first, last]) if first <= last && last < CHILD_MAX => (first, last),
                _ => return Err(IndexError::Outside(at)),
            };
            let len = 4 * (usize::from(last - first) + 1);
            let table = self.bytes.get(at + 2..at + 2 + len);
            node.children = (first, table.ok_or(IndexError::Outside(at))?);
            at += 2 + len;
        }
        if offset & FLAG_VALUES != 0 {
            let count = word(self.bytes, at)? as usize;
            at += 4;
            // A value takes five bytes at least.
            if count > self.bytes.len() / 5 {
                return Err(IndexError::Outside(at));
            }
            for _ in 0..count {
                let priority = word(self.bytes, at)?;
                at += 4;
                let text = text(self.bytes, &mut at)?.to_vec();
                node.values.push(Value { priority, text });
            }
        }
        Ok(node)
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, IndexError> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(chunk) => Ok(u32::from_be_bytes(*chunk)),
        None => Err(IndexError::Outside(at)),
    }
}

fn text<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], IndexError> {
    let rest = bytes.get(*at..).ok_or(IndexError::Outside(*at))?;
    let len = memchr::memchr(0, rest).ok_or(IndexError::Outside(bytes.len()))?;
    *at += len + 1;
    Ok(&rest[..len])
}
