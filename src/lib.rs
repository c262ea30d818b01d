//! hullwright links Debian packages into immutable, signed, verified operating-system images.
//!
//! One line a room; `build` is the recipe that walks through them.

pub mod arch;
pub mod archive;
pub mod audit;
pub mod base64;
pub mod build;
pub mod capability;
pub mod cli;
pub mod digest;
pub mod disk;
pub mod elf;
pub mod erofs;
pub mod esp;
pub mod failure;
#[cfg(test)]
mod generated;
pub mod initrd;
pub mod inspect;
pub mod kernel;
pub mod package;
pub mod profile;
pub mod release;
pub mod report;
pub mod resign;
pub mod resolve;
pub mod run;
pub mod sign;
pub mod staging;
pub mod stamp;
pub mod store;
pub mod tree;
pub mod uki;
pub mod unchanged;
pub mod varstore;
pub mod verity;
pub mod words;
pub mod xz;
