//! Writes an index: the tree is built from the sorted keys, so its shape depends on nothing else.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::Value;
use super::format::{
    CHILD_MAX, FLAG_CHILDREN, FLAG_PREFIX, FLAG_VALUES, HEADER, KEY_MAX, MAGIC, OFFSET, VERSION,
};

/// Collects keys and values.
#[derive(Debug, Default)]
pub struct Builder {
    keys: BTreeMap<Vec<u8>, Vec<Value>>,
}

/// A node with all numbers that its parent's writer needs.
struct Node<'a> {
    prefix: &'a [u8],
    values: &'a [Value],
    children: Vec<(u8, Self)>,
    size: u64,
    total: u64,
}

impl Builder {
    /// An index without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Among values of equal priority the one added last comes first, as in kmod.
    ///
    /// # Errors
    /// A key or text that is not 7-bit, holds a NUL, or is too long.
    pub fn insert(&mut self, key: &[u8], text: &[u8], priority: u32) -> Result<()> {
        if let Some(bad) = key.iter().chain(text).find(|&&b| b == 0 || b >= CHILD_MAX) {
            bail!(
                "the key `{}` or its value holds the byte {bad:#x}",
                key.escape_ascii()
            );
        }
        if key.len() > KEY_MAX {
            bail!("a key of {} bytes is longer than {KEY_MAX}", key.len());
        }
        let values = self.keys.entry(key.to_vec()).or_default();
        let at = values.partition_point(|value| value.priority < priority);
        let text = text.to_vec();
        values.insert(at, Value { priority, text });
        Ok(())
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// More than 256 MiB.
    pub fn finish(self) -> Result<Vec<u8>> {
        let keys: Vec<(&[u8], &[Value])> = self
            .keys
            .iter()
            .map(|(key, values)| (key.as_slice(), values.as_slice()))
            .collect();
        // The root never has a prefix, whatever the keys share.
        let root = Node::build(&keys, 0, 0);
        let len = root.total + u64::from(HEADER);
        if len > u64::from(OFFSET) {
            bail!("a module index of {len} bytes does not fit its own offsets");
        }
        let mut out = Vec::with_capacity(usize::try_from(len)?);
        for word in [MAGIC, VERSION, HEADER | root.flags()] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        root.write(&mut out)?;
        Ok(out)
    }
}

impl<'a> Node<'a> {
    /// The node for sorted `keys` that agree in their first `start` bytes; `shared` more bytes are
    /// its prefix.
    fn build(keys: &[(&'a [u8], &'a [Value])], start: usize, shared: usize) -> Self {
        let cut = start + shared;
        let mut node = Self {
            prefix: keys.first().map_or(&[], |(key, _)| &key[start..cut]),
            values: &[],
            children: Vec::new(),
            size: 0,
            total: 0,
        };
        let mut rest = keys;
        if let Some(((key, values), others)) = rest.split_first()
            && key.len() == cut
        {
            node.values = values;
            rest = others;
        }
        while let Some((first, _)) = rest.first() {
            let byte = first[cut];
            let count = rest.partition_point(|(key, _)| key[cut] == byte);
            let (group, others) = rest.split_at(count);
            let last = group.last().map_or(*first, |(key, _)| key);
            let common = first[cut + 1..]
                .iter()
                .zip(&last[cut + 1..])
                .take_while(|(a, b)| a == b)
                .count();
            node.children
                .push((byte, Self::build(group, cut + 1, common)));
            rest = others;
        }
        if !node.prefix.is_empty() {
            node.size += node.prefix.len() as u64 + 1;
        }
        if let Some((first, last)) = node.span() {
            node.size += 2 + 4 * (u64::from(last - first) + 1);
        }
        if !node.values.is_empty() {
            node.size += 4;
            node.size += node
                .values
                .iter()
                .map(|v| v.text.len() as u64 + 5)
                .sum::<u64>();
        }
        node.total = node.size
            + node
                .children
                .iter()
                .map(|(_, child)| child.total)
                .sum::<u64>();
        node
    }

    fn span(&self) -> Option<(u8, u8)> {
        Some((self.children.first()?.0, self.children.last()?.0))
    }

    const fn flags(&self) -> u32 {
        let mut flags = 0;
        if !self.prefix.is_empty() {
            flags |= FLAG_PREFIX;
        }
        if !self.values.is_empty() {
            flags |= FLAG_VALUES;
        }
        if !self.children.is_empty() {
            flags |= FLAG_CHILDREN;
        }
        flags
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let mut child_at = out.len() as u64 + self.size;
        if !self.prefix.is_empty() {
            out.extend_from_slice(self.prefix);
            out.push(0);
        }
        if let Some((first, last)) = self.span() {
            out.extend_from_slice(&[first, last]);
            let mut children = self.children.iter().peekable();
            for byte in first..=last {
                let word = match children.next_if(|(own, _)| *own == byte) {
                    Some((_, child)) => {
                        let word = u32::try_from(child_at)? | child.flags();
                        child_at += child.total;
                        word
                    }
                    None => 0,
                };
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            out.extend_from_slice(&u32::try_from(self.values.len())?.to_be_bytes());
            for value in self.values {
                out.extend_from_slice(&value.priority.to_be_bytes());
                out.extend_from_slice(&value.text);
                out.push(0);
            }
        }
        for (_, child) in &self.children {
            child.write(out)?;
        }
        Ok(())
    }
}
