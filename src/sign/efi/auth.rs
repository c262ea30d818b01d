//! Signed variables: EFI_VARIABLE_AUTHENTICATION_2 before the data (UEFI 2.10, sections 8.2.2 and
//! 8.2.6), as `SetVariable` takes it and `*.auth` files hold it.
//!
//! The signature is a bare SignedData without attributes over name, vendor, attributes, time and
//! data. Firmware takes a variable only if its time is later than that of the present value, but for
//! appending, where the later of the two stays.

use std::time::Duration;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::format::{
    APPEND_WRITE, ATTRIBUTES, CERT_TYPE_PKCS7, GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE, TIME_LEN,
    WIN_CERT_REVISION, WIN_CERT_TYPE_EFI_GUID, WIN_CERTIFICATE_LEN,
};
use super::read::{self, FormatError};
use crate::sign::{Signer, cms};
use crate::stamp::Stamp;

/// The variables that Secure Boot is made of (UEFI 2.10, section 32.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// Platform key: signs `PK` and `KEK`.
    Pk,
    /// Key exchange keys: sign `db` and `dbx`.
    Kek,
    /// What may start.
    Db,
    /// What may not, whatever `db` says.
    Dbx,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pk, Self::Kek, Self::Db, Self::Dbx];

    /// Its name in firmware.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        }
    }

    /// Its file in a folder of signed variables, as systemd-boot expects it.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}.auth", self.name())
    }

    /// The GUID that belongs to its name.
    #[must_use]
    pub const fn vendor(self) -> Uuid {
        match self {
            Self::Pk | Self::Kek => GLOBAL_VARIABLE,
            Self::Db | Self::Dbx => IMAGE_SECURITY_DATABASE,
        }
    }

    /// What is signed besides time and data.
    fn head(self, append: bool) -> Vec<u8> {
        let attributes = ATTRIBUTES | if append { APPEND_WRITE } else { 0 };
        let mut head: Vec<u8> = self
            .name()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        head.extend_from_slice(&self.vendor().to_bytes_le());
        head.extend_from_slice(&attributes.to_le_bytes());
        head
    }
}

/// `data` for `variable`, signed at `time`; `append` adds to what is there instead of replacing it.
///
/// # Errors
/// The signer fails, or the time is beyond the year 9999.
pub fn sign_variable(
    variable: Variable,
    time: Stamp,
    append: bool,
    data: &[u8],
    signer: &dyn Signer,
) -> Result<Vec<u8>> {
    let time = encode_time(time)?;
    let mut content = variable.head(append);
    content.extend_from_slice(&time);
    content.extend_from_slice(data);
    let signature = cms::detached(&content, signer, true)
        .with_context(|| format!("signing the variable {}", variable.name()))?;
    let len = u32::try_from(WIN_CERTIFICATE_LEN + signature.len())
        .context("the signature exceeds 4 GiB")?;
    let mut out = Vec::with_capacity(TIME_LEN + len as usize + data.len());
    out.extend_from_slice(&time);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&WIN_CERT_REVISION.to_le_bytes());
    out.extend_from_slice(&WIN_CERT_TYPE_EFI_GUID.to_le_bytes());
    out.extend_from_slice(&CERT_TYPE_PKCS7.to_bytes_le());
    out.extend_from_slice(&signature);
    out.extend_from_slice(data);
    Ok(out)
}

/// A signed variable taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated<'a> {
    /// When it was signed.
    pub time: Stamp,
    /// SignedData.
    pub signature: &'a [u8],
    /// What the variable is to hold.
    pub payload: &'a [u8],
}

impl<'a> Authenticated<'a> {
    /// Takes a signed variable apart; verifies nothing.
    ///
    /// # Errors
    /// It is no EFI_VARIABLE_AUTHENTICATION_2 with a PKCS #7 signature.
    pub fn parse(mut data: &'a [u8]) -> Result<Self, FormatError> {
        let time = decode_time(read::take(&mut data, TIME_LEN, "the time")?)?;
        let what = "the signature's header";
        let len = read::u32(&mut data, what)?;
        let revision = read::u16(&mut data, what)?;
        let kind = read::u16(&mut data, what)?;
        let guid = read::guid(&mut data, what)?;
        if (revision, kind, guid) != (WIN_CERT_REVISION, WIN_CERT_TYPE_EFI_GUID, CERT_TYPE_PKCS7) {
            return Err(FormatError::NotPkcs7 {
                revision,
                kind,
                guid,
            });
        }
        let signature_len =
            (len as usize)
                .checked_sub(WIN_CERTIFICATE_LEN)
                .ok_or(FormatError::Size {
                    what: "size of the signature",
                    found: len,
                })?;
        Ok(Self {
            time,
            signature: read::take(&mut data, signature_len, "the signature")?,
            payload: data,
        })
    }

    /// Checks that the key of `certificate` (DER) signed this for `variable`.
    ///
    /// # Errors
    /// Another key did, for another variable, or the bytes were changed.
    pub fn verify(&self, variable: Variable, append: bool, certificate: &[u8]) -> Result<()> {
        let mut content = variable.head(append);
        content.extend_from_slice(&encode_time(self.time)?);
        content.extend_from_slice(self.payload);
        cms::verify(self.signature, &content, certificate)
    }
}

/// What the variable of a signed one is to hold, unverified.
///
/// # Errors
/// As [`Authenticated::parse`].
pub fn payload(data: &[u8]) -> Result<&[u8]> {
    Ok(Authenticated::parse(data)?.payload)
}

/// When a variable was signed, unverified.
///
/// # Errors
/// As [`Authenticated::parse`].
pub fn timestamp(data: &[u8]) -> Result<Stamp> {
    Ok(Authenticated::parse(data)?.time)
}

/// EFI_TIME in UTC, with zero where section 8.2.2 wants it.
fn encode_time(time: Stamp) -> Result<[u8; TIME_LEN]> {
    let time = der::DateTime::from_unix_duration(Duration::from_secs(time.seconds()))
        .context("the time lies beyond the year 9999")?;
    let mut out = [0; TIME_LEN];
    let [low, high] = time.year().to_le_bytes();
    out[..7].copy_from_slice(&[
        low,
        high,
        time.month(),
        time.day(),
        time.hour(),
        time.minutes(),
        time.seconds(),
    ]);
    Ok(out)
}

fn decode_time(mut data: &[u8]) -> Result<Stamp, FormatError> {
    let what = "the time";
    let year = read::u16(&mut data, what)?;
    let mut part = || read::u8(&mut data, what);
    let (month, day) = (part()?, part()?);
    let (hour, minute, second) = (part()?, part()?, part()?);
    if data.iter().any(|byte| *byte != 0) {
        return Err(FormatError::Time);
    }
    let time = der::DateTime::new(year, month, day, hour, minute, second)
        .map_err(|_| FormatError::Time)?;
    Ok(Stamp::from_seconds(time.unix_duration().as_secs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sign::keys::tests::{development_keys, other_keys};

    const TIME: Stamp = Stamp::from_seconds(1_714_979_289);

    #[test]
    fn a_signed_variable_is_for_one_variable_one_time_and_one_key() {
        let keys = development_keys();
        let (ours, theirs) = (keys.certificate(), other_keys().certificate());
        for variable in Variable::ALL {
            for append in [false, true] {
                let signed = sign_variable(variable, TIME, append, b"data", keys).unwrap();
                assert_eq!(payload(&signed).unwrap(), b"data");
                assert_eq!(timestamp(&signed).unwrap(), TIME);
                let parsed = Authenticated::parse(&signed).unwrap();
                parsed.verify(variable, append, ours).unwrap();
                assert!(parsed.verify(variable, !append, ours).is_err());
                assert!(parsed.verify(variable, append, theirs).is_err());
                for other in Variable::ALL {
                    assert_eq!(
                        parsed.verify(other, append, ours).is_ok(),
                        other == variable
                    );
                }
                let later = Authenticated {
                    time: Stamp::from_seconds(TIME.seconds() + 1),
                    ..parsed
                };
                assert!(later.verify(variable, append, ours).is_err());
            }
        }
    }

    #[test]
    fn the_header_is_that_of_the_specification() {
        let signed = sign_variable(Variable::Db, TIME, false, b"", development_keys()).unwrap();
        let len = signed.len() - TIME_LEN;
        assert_eq!(
            crate::digest::hex(&signed[..TIME_LEN]),
            "e8070506070809000000000000000000"
        );
        assert_eq!(signed[16..20], (len as u32).to_le_bytes());
        assert_eq!(
            crate::digest::hex(&signed[20..40]),
            "0002f10e9dd2af4adf68ee498aa9347d375665a7"
        );
        assert_eq!(
            Variable::Dbx.head(true),
            [
                b"d\0b\0x\0".as_slice(),
                &IMAGE_SECURITY_DATABASE.to_bytes_le(),
                &[0x67, 0, 0, 0]
            ]
            .concat()
        );
    }

    #[test]
    fn what_is_no_signed_variable_is_refused() {
        let good = sign_variable(Variable::Pk, TIME, false, b"data", development_keys()).unwrap();
        for (at, byte, expected) in [
            (2, 13, "its time"),
            (7, 1, "its time"),
            (12, 1, "its time"),
            (21, 1, "its signature is of revision 0x0100"),
            (22, 0, "type 0x0e00"),
            (24, 0, "expected PKCS #7"),
            (18, 1, "it ends inside the signature"),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            let error = payload(&bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let mut bad = good;
        bad[16..20].copy_from_slice(&23u32.to_le_bytes());
        assert!(payload(&bad).is_err());
    }

    proptest! {
        #[test]
        fn times_are_read_as_they_were_written(seconds in 0u64..253_402_300_800) {
            let time = Stamp::from_seconds(seconds);
            prop_assert_eq!(decode_time(&encode_time(time).unwrap()).unwrap(), time);
        }

        #[test]
        fn nothing_makes_the_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(parsed) = Authenticated::parse(&data) {
                prop_assert!(parsed.verify(Variable::Db, false, b"").is_err());
            }
        }
    }
}
