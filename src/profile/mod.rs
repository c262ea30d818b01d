//! Profiles: schema, merging with provenance, validation with line and column.
//!
//! A profile and what it `extends` are parsed into trees whose values know their places (`yaml`),
//! each is held against the table of keys (`table`, `typing`), they are merged (`merge`), the result
//! becomes the types of `schema` and is judged as a whole (`rules`).

pub mod board;
mod checks;
pub mod cmdline;
mod containers;
mod embedded;
mod files;
mod kernel;
mod lines;
mod load;
mod merge;
mod optimize;
mod reference;
mod rules;
mod scaffold;
pub mod schema;
mod show;
mod source;
mod table;
mod typing;
mod yaml;

pub use checks::{
    budget as parse_budget, bytes as parse_size, channel as check_channel, os_id as check_os_id,
    os_version as check_os_version,
};
pub use containers::ContainerFile;
pub use files::{LocalDebFile, OverlayEntry, OverlayKind};
pub use lines::Line;
pub use load::{LoadRequest, Loaded, load, parse_bytes};
pub use optimize::Optimize;
pub use reference::reference;
pub use scaffold::scaffold;
pub use schema::{Profile, SignTime};
pub use show::LeafOrigin;

/// The name of arguments among the sources.
const ARGUMENT: &str = "command line";

/// The built-in profiles: name and text.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    embedded::PROFILES.iter().copied()
}

#[cfg(test)]
mod tests;
