//! Changes and writes a variable store. The same input gives the same bytes.

use uuid::Uuid;

use super::format::{
    ADDED, ALIGNMENT, AUTHENTICATED_STORE, ERASED, FORMATTED, HEALTHY, NV_DATA_VOLUME, START_ID,
    STORE_HEADER, VARIABLE_HEADER, VOLUME_HEADER, VOLUME_SIGNATURE, Variable, virt, volume,
};
use super::read::{VarStore, VarStoreError, is_blank, sum16};

impl VarStore {
    /// Sets `variable`, in the place of one of that name.
    pub fn set(&mut self, variable: Variable) {
        match self
            .variables
            .iter_mut()
            .find(|old| old.is(variable.vendor, &variable.name))
        {
            Some(old) => *old = variable,
            None => self.variables.push(variable),
        }
    }

    /// Removes the variable `name` of `vendor`, if there is one.
    pub fn remove(&mut self, vendor: Uuid, name: &str) {
        self.variables.retain(|v| !v.is(vendor, name));
    }

    /// The flash image: what the original was, but for the variables, which lie one behind the other.
    ///
    /// # Errors
    /// The variables do not fit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VarStoreError> {
        let mut written = Vec::new();
        for variable in &self.variables {
            append(&mut written, variable);
            // The first variable begins at a multiple of the alignment, so lengths decide.
            written.resize(written.len().next_multiple_of(ALIGNMENT), ERASED);
        }
        let mut image = self.image.clone();
        let full = VarStoreError::Full {
            needed: written.len(),
            space: self.end.saturating_sub(self.begin),
        };
        let Some(store) = image.get_mut(self.begin..self.end) else {
            return Err(full);
        };
        let Some((head, tail)) = store.split_at_mut_checked(written.len()) else {
            return Err(full);
        };
        head.copy_from_slice(&written);
        tail.fill(ERASED);
        Ok(image)
    }

    /// An empty store in a flash of `blank.len()` bytes of QEMU's `virt` machine, where `blank` was
    /// never written to: Debian's AAVMF comes with such a file and formats it by itself.
    #[must_use]
    pub fn format_virt(blank: &[u8]) -> Option<Self> {
        let length = usize::try_from(virt::LENGTH).ok()?;
        if blank.len() < length || !is_blank(blank) {
            return None;
        }
        let blocks = u32::try_from(blank.len()).ok()? / virt::BLOCK;
        let mut header = [0; VOLUME_HEADER];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(volume::FILE_SYSTEM, &NV_DATA_VOLUME.to_bytes_le());
        put(volume::LENGTH, &virt::LENGTH.to_le_bytes());
        put(volume::SIGNATURE, VOLUME_SIGNATURE);
        put(volume::ATTRIBUTES, &virt::ATTRIBUTES.to_le_bytes());
        put(volume::HEADER_LENGTH, &(VOLUME_HEADER as u16).to_le_bytes());
        put(volume::REVISION, &[2]);
        put(volume::BLOCK_MAP, &blocks.to_le_bytes());
        put(volume::BLOCK_MAP + 4, &virt::BLOCK.to_le_bytes());
        let sum = sum16(&header);
        header[volume::CHECKSUM..volume::CHECKSUM + 2]
            .copy_from_slice(&sum.wrapping_neg().to_le_bytes());

        let end = virt::BLOCK as usize;
        let size = virt::BLOCK - VOLUME_HEADER as u32;
        let mut image = header.to_vec();
        image.extend_from_slice(&AUTHENTICATED_STORE.to_bytes_le());
        image.extend_from_slice(&size.to_le_bytes());
        image.extend_from_slice(&[FORMATTED, HEALTHY, 0, 0, 0, 0, 0, 0]);
        image.resize(length, ERASED);
        // Sparse beyond the volume, as the file was.
        image.resize(blank.len(), blank.last().copied().unwrap_or(ERASED));
        Some(Self {
            image,
            begin: VOLUME_HEADER + STORE_HEADER,
            end,
            variables: Vec::new(),
        })
    }
}

fn append(out: &mut Vec<u8>, variable: &Variable) {
    let name: Vec<u8> = variable
        .name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    // Both are far below 4 GiB: they have to fit the store, which the caller checks.
    let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    let begin = out.len();
    out.extend_from_slice(&START_ID.to_le_bytes());
    out.extend_from_slice(&[ADDED, 0]);
    out.extend_from_slice(&variable.attributes.to_le_bytes());
    out.extend_from_slice(&variable.monotonic_count.to_le_bytes());
    out.extend_from_slice(&variable.timestamp);
    out.extend_from_slice(&variable.public_key_index.to_le_bytes());
    out.extend_from_slice(&length(&name));
    out.extend_from_slice(&length(&variable.data));
    out.extend_from_slice(&variable.vendor.to_bytes_le());
    debug_assert_eq!(out.len() - begin, VARIABLE_HEADER);
    out.extend_from_slice(&name);
    out.extend_from_slice(&variable.data);
}
