//! One `.deb` becomes one [`PackageObject`].

mod object;

pub use object::{Control, Entry, EntryKind, PackageObject};
