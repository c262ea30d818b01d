//! kmod's binary index: a radix tree of keys, each with values and their priorities.

pub mod format;
mod read;
mod write;

pub use read::{Entry, Index, IndexError};
pub use write::Builder;

/// A value under a key. Several values of a key are ordered by priority, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// For modules: the position in depmod's order.
    pub priority: u32,
    /// The text.
    pub text: Vec<u8>,
}

#[cfg(test)]
mod tests;
