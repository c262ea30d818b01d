//! UEFI variable stores as EDK2 keeps them in flash: what OVMF and AAVMF find when they start.
//!
//! EDK2, `MdeModulePkg/Include/Guid/VariableFormat.h` and `MdePkg/Include/Pi/PiFirmwareVolume.h`.

mod enrol;
mod format;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use enrol::{EnrolError, enrol};
pub use format::Variable;
pub use read::{VarStore, VarStoreError};
