//! Puts the keys of a key folder into a variable store, as if firmware had taken them.

use super::format::{BOOT_SERVICE, NON_VOLATILE, SECURE_BOOT_ENABLE, Variable};
use super::read::VarStore;
use crate::sign::Enrolment;
use crate::sign::efi::auth::{self, Authenticated};
use crate::sign::efi::format::{ATTRIBUTES, LIST_HEADER_LEN, TIME_LEN};
use crate::sign::efi::{FormatError, Variable as Name};

/// A signed variable that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}.auth is not a signed variable: {why}")]
pub struct EnrolError {
    /// Name of the variable.
    pub name: &'static str,
    /// What is wrong.
    pub why: FormatError,
}

/// Enrols the keys: afterwards firmware starts in user mode with Secure Boot on, and accepts further
/// signed variables only if they are newer. A `dbx` of another owner goes.
///
/// EDK2 derives everything else from these when it starts (`SecurityPkg/Library/AuthVariableLib`,
/// `AuthVariableLibInitialize`): `SetupMode`, `SecureBoot`, `certdb`, `CustomMode`, `VendorKeysNv`.
///
/// # Errors
/// A file of the enrolment is not a signed variable.
pub fn enrol(store: &mut VarStore, enrolment: &Enrolment) -> Result<(), EnrolError> {
    for name in Name::ALL {
        let bytes = match name {
            Name::Pk => Some(&enrolment.pk),
            Name::Kek => Some(&enrolment.kek),
            Name::Db => Some(&enrolment.db),
            Name::Dbx => enrolment.dbx.as_ref(),
        };
        match bytes {
            Some(bytes) => store.set(signed(name, bytes)?),
            None => store.remove(name.vendor(), name.name()),
        }
    }
    store.set(Variable::new(
        SECURE_BOOT_ENABLE,
        "SecureBootEnable",
        NON_VOLATILE | BOOT_SERVICE,
        &[1],
    ));
    Ok(())
}

/// The variable that firmware keeps of the signed one in `bytes`.
fn signed(name: auth::Variable, bytes: &[u8]) -> Result<Variable, EnrolError> {
    let wrong = |why| EnrolError {
        name: name.name(),
        why,
    };
    let payload = Authenticated::parse(bytes).map_err(wrong)?.payload;
    // An empty value would delete the variable.
    if payload.len() < LIST_HEADER_LEN {
        return Err(wrong(FormatError::Truncated("the signature list")));
    }
    let timestamp = bytes
        .first_chunk::<TIME_LEN>()
        .ok_or_else(|| wrong(FormatError::Truncated("the time")))?;
    Ok(Variable {
        timestamp: *timestamp,
        ..Variable::new(name.vendor(), name.name(), ATTRIBUTES, payload)
    })
}
