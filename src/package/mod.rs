//! One `.deb` becomes one [`PackageObject`].
//!
//! [`compile`] reads the container ([`ar`]), decompresses its two archives ([`decompress`]), walks
//! them ([`tarball`], [`pax`], [`control`]) and compiles each file's content into a blob.
//! [`Compiler`] does so for many packages at once, and keeps the objects in the cache, where
//! [`stored`] finds them. Everything is bounded by [`limits`]. Maintainer
//! scripts are not even read.

pub mod ar;
mod compile;
mod compiler;
pub mod control;
pub mod decompress;
pub mod extract;
pub mod limits;
mod object;
pub mod pax;
mod stored;
pub mod tarball;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod xz;

pub use compile::{
    DebError, DebId, Vanished, compile, control_text, fuzz_parse, parse, parse_within,
};
pub use compiler::{Compiler, compile_all};
pub use object::{Control, Entry, EntryKind, PackageObject};
pub use stored::{keep, stored};
