//! Looks into images without mounting them and without root: every byte is read at its offset.
//!
//! A [`Subject`] is what a person pointed at: a disk, a folder of a build, a `usr.erofs`, an `.efi`.
//! [`facts`] says what it is made of, [`Volume`]s are its file systems, [`check`] proves it whole.

pub mod check;
mod esp;
pub mod facts;
mod initrd;
mod root_hash;
mod subject;
mod usr;
mod volume;

pub use check::check;
pub use esp::EspVolume;
pub use facts::{Facts, facts};
pub use initrd::InitrdVolume;
pub use root_hash::DocumentFacts;
pub use subject::{Place, Program, Slot, Subject};
pub use usr::SystemVolume;
pub use volume::{Listed, Node, NodeKind, Volume, copy, list};
