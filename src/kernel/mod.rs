//! The kernel's modules: what each one offers and needs, depmod's indices, closures of names.
//!
//! [`modules::scan`] reads every module of a tree once. A [`ModuleIndex`] orders them and resolves
//! their symbols into dependencies; [`depmod`] writes the files that kmod reads at run time, byte
//! for byte as kmod 34 writes them; [`ModuleIndex::closure`] answers what an initrd must carry, and
//! [`ModuleIndex::select`] what stays in `/usr`. [`Needs`] is what the modules of a tree ask of it, and
//! [`firmware`] what of that is firmware.
//! [`contract`] holds the kernel's configuration against what every image needs.

mod closure;
pub mod contract;
pub mod depmod;
pub mod firmware;
pub mod index;
pub mod modules;
mod names;
mod needs;
mod order;
pub mod select;
pub mod sets;
mod unpack;

pub use closure::{Closure, Missing};
pub use modules::Module;
pub use names::underscored;
pub use needs::{CutOff, ModuleNeeds, Needs, Unmet};
pub use order::{ModuleIndex, Sources};
pub use unpack::{decompress, plain_path};
