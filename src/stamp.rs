//! Time and chance as arguments: nothing that writes bytes reads a clock or a random source.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The one time of a build, in seconds since 1970-01-01T00:00:00Z; every inode's mtime is this.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(u64);

impl Stamp {
    /// A stamp of `seconds` since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

/// What every identifier of an image is derived from: two labels give two unrelated values, the same
/// label always the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed for an input that is described by `parts`, such as lock hash and profile hash.
    /// Each part is length-prefixed, so that no two lists collide by concatenation.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"hullwright-seed:");
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// 32 bytes for `label`.
    #[must_use]
    pub fn bytes(&self, label: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(label.as_bytes());
        hash.finalize().into()
    }

    /// A UUID for `label`, marked as version 8 (RFC 9562, section 5.8: custom, hash-based).
    #[must_use]
    pub fn uuid(&self, label: &str) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.bytes(label)[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// A 32-bit serial for `label`, never zero.
    #[must_use]
    pub fn serial(&self, label: &str) -> u32 {
        let bytes = self.bytes(label);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_give_unrelated_values_and_the_same_label_the_same() {
        let seed = Seed::new(&[b"lock", b"profile"]);
        assert_eq!(seed.uuid("disk"), seed.uuid("disk"));
        assert_ne!(seed.uuid("disk"), seed.uuid("esp"));
        assert_eq!(seed.uuid("disk").get_version_num(), 8);
        assert_ne!(Seed::new(&[b"ab", b"c"]), Seed::new(&[b"a", b"bc"]));
    }
}
