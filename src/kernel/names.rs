//! How kmod writes names: modules, aliases, and the order of its symbol table.

/// A module's name from its file or from a list: the part before the first dot of the last
/// component, with `_` for `-`.
#[must_use]
pub(super) fn module_name(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    underscored(base.split('.').next().unwrap_or(base))
}

/// A name as kmod compares it: it takes `-` and `_` for the same.
#[must_use]
pub fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// An alias as the index stores it: `_` for `-` outside of character classes. `None` where a
/// bracket has no partner.
#[must_use]
pub(super) fn normal_alias(alias: &str) -> Option<String> {
    let mut out = String::with_capacity(alias.len());
    let mut class = false;
    for c in alias.chars() {
        match (class, c) {
            (false, ']') => return None,
            (false, '[') => class = true,
            (true, ']') => class = false,
            _ => {}
        }
        out.push(if c == '-' && !class { '_' } else { c });
    }
    (!class).then_some(out)
}

/// Paul Hsieh's hash, by which kmod orders `modules.symbols`: the file is written bucket by bucket.
#[must_use]
fn superfast(key: &[u8]) -> u32 {
    let word = |pair: &[u8]| match *pair {
        [low, high, ..] => u32::from(u16::from_le_bytes([low, high])),
        [low] => u32::from(low),
        [] => 0,
    };
    let mut hash = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (quads, rest) = key.split_at(key.len() & !3);
    for quad in quads.chunks_exact(4) {
        hash = hash.wrapping_add(word(&quad[..2]));
        hash = (hash << 16) ^ (word(&quad[2..]) << 11) ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match rest.len() {
        3 => {
            hash = hash.wrapping_add(word(rest));
            hash ^= hash << 16;
            hash ^= u32::from(rest[2]) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        2 => {
            hash = hash.wrapping_add(word(rest));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        1 => {
            hash = hash.wrapping_add(word(rest));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

/// Buckets of depmod's symbol table.
const SYMBOL_BUCKETS: u32 = 2048;

/// Sorts symbols as depmod writes them: by bucket, then by name.
#[must_use]
pub(super) fn symbol_order(symbol: &str) -> (u32, &str) {
    (superfast(symbol.as_bytes()) & (SYMBOL_BUCKETS - 1), symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_become_underscores_outside_of_classes() {
        for (alias, wanted) in [
            ("crypto-crc32c", Some("crypto_crc32c")),
            ("usb:v0bda[0-9]-x", Some("usb:v0bda[0-9]_x")),
            ("a[b", None),
            ("a]b", None),
            ("", Some("")),
        ] {
            assert_eq!(normal_alias(alias).as_deref(), wanted, "{alias}");
        }
        assert_eq!(
            module_name("kernel/drivers/md/dm-verity.ko.xz"),
            "dm_verity"
        );
    }
}
