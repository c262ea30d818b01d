//! Where the bytes of an image go, and who wanted them.
//!
//! A build keeps [`Sizes`] in the cache; everything else here is a view of them: [`tree`] by package and
//! by the line of the profile that led to it, [`text`] for people, [`html`] as a treemap. [`budget`]
//! holds them against a limit, [`savings`] looks for what could go, and [`why`] answers for one path.

pub mod budget;
pub mod html;
mod origin;
mod record;
pub mod savings;
#[cfg(test)]
mod tests;
pub mod text;
pub mod tree;
pub mod why;

pub use origin::Lines;
pub use record::{File, FileKind, Form, Maker, Part, Sizes};
