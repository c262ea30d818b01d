//! Partition tables, with the checksums made right.
#![no_main]

use std::io::Cursor;

use hullwright::disk::GptTable;

const SECTOR: usize = 512;

/// Nobody guesses a CRC: writes the right ones into the primary header, where there is room for it.
fn mend(data: &mut [u8]) -> Option<()> {
    let word = |data: &[u8], at: usize| -> Option<usize> {
        let bytes = data.get(SECTOR + at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let start = word(data, 72)?.checked_mul(SECTOR)?;
    let len = word(data, 80)?.checked_mul(word(data, 84)?)?;
    let entries = crc(data.get(start..start.checked_add(len)?)?);
    data.get_mut(SECTOR + 88..SECTOR + 92)?
        .copy_from_slice(&entries);
    let len = word(data, 12)?;
    data.get_mut(SECTOR + 16..SECTOR + 20)?.fill(0);
    let header = crc(data.get(SECTOR..SECTOR.checked_add(len)?)?);
    data.get_mut(SECTOR + 16..SECTOR + 20)?
        .copy_from_slice(&header);
    Some(())
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    let _ = mend(&mut data);
    if let Ok(table) = GptTable::read(&mut Cursor::new(&data)) {
        for (number, entry) in &table.partitions {
            assert!(*number > 0);
            assert!(entry.offset() + entry.len() <= data.len() as u64);
            assert_eq!(
                hullwright::disk::format::Entry::from_bytes(&entry.to_bytes())
                    .map(|back| back.guid),
                Some(entry.guid)
            );
        }
    }
});
