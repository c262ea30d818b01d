//! Puts the keys of a key folder into a variable store, as if firmware had taken them.

use super::format::{
    BOOT_SERVICE, GLOBAL, IMAGE_SECURITY, NON_VOLATILE, RUNTIME, SECURE_BOOT_ENABLE,
    TIME_BASED_AUTHENTICATED, Variable,
};
use super::read::VarStore;
use crate::sign::Enrolment;

/// `EFI_TIME`
const TIME: usize = 16;
/// `WIN_CERTIFICATE_UEFI_GUID` without its data.
const CERTIFICATE_HEADER: usize = 24;
/// `wRevision` 2.0 and `WIN_CERT_TYPE_EFI_GUID`.
const REVISION_AND_TYPE: [u8; 4] = [0x00, 0x02, 0xf1, 0x0e];
/// `EFI_SIGNATURE_LIST` without its signatures.
const LIST_HEADER: usize = 28;

/// A signed variable that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}.auth is not a signed variable with a signature list: {why}")]
pub struct EnrolError {
    /// Name of the variable.
    pub name: &'static str,
    /// What is wrong.
    pub why: &'static str,
}

/// What a signed variable says (UEFI 2.10, section 8.2.2, `EFI_VARIABLE_AUTHENTICATION_2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedVariable<'a> {
    /// `EFI_TIME` of the signature.
    pub timestamp: [u8; TIME],
    /// The signature lists.
    pub payload: &'a [u8],
}

impl<'a> SignedVariable<'a> {
    /// Takes the signature off `bytes`; it is not checked.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (timestamp, rest) = bytes.split_first_chunk().ok_or("it is too short")?;
        let (length, tail) = rest.split_first_chunk().ok_or("it is too short")?;
        if !tail.starts_with(&REVISION_AND_TYPE) {
            return Err("its certificate is not of the type WIN_CERT_TYPE_EFI_GUID");
        }
        let payload = usize::try_from(u32::from_le_bytes(*length))
            .ok()
            .filter(|&length| length >= CERTIFICATE_HEADER)
            .and_then(|length| rest.get(length..))
            .ok_or("the length of its certificate leads out of it")?;
        if payload.len() < LIST_HEADER {
            return Err("it has no signature list");
        }
        Ok(Self {
            timestamp: *timestamp,
            payload,
        })
    }
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
    for (vendor, name, bytes) in [
        (GLOBAL, "PK", Some(&enrolment.pk)),
        (GLOBAL, "KEK", Some(&enrolment.kek)),
        (IMAGE_SECURITY, "db", Some(&enrolment.db)),
        (IMAGE_SECURITY, "dbx", enrolment.dbx.as_ref()),
    ] {
        let Some(bytes) = bytes else {
            store.remove(vendor, name);
            continue;
        };
        let signed = SignedVariable::parse(bytes).map_err(|why| EnrolError { name, why })?;
        let attributes = NON_VOLATILE | BOOT_SERVICE | RUNTIME | TIME_BASED_AUTHENTICATED;
        store.set(Variable {
            timestamp: signed.timestamp,
            ..Variable::new(vendor, name, attributes, signed.payload)
        });
    }
    store.set(Variable::new(
        SECURE_BOOT_ENABLE,
        "SecureBootEnable",
        NON_VOLATILE | BOOT_SERVICE,
        &[1],
    ));
    Ok(())
}
