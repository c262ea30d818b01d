//! The value of `security.capability` as a list of files has it.

use crate::capability::Capabilities;

/// Text of a value in hexadecimal, as `getcap` prints it; the value itself where it is of no known version.
pub fn text(value: &str) -> String {
    let pairs = value.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| Capabilities::parse(&bytes))
        .map_or_else(|| value.to_owned(), |all| all.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_getcap_prints_them() {
        for (value, expected) in [
            ("0100000200200000000000000000000000000000", "cap_net_raw=ep"),
            ("0000000200200000000000000000000000000000", "cap_net_raw=p"),
            (
                "01000002c0000000000000000000000000000000",
                "cap_setgid,cap_setuid=ep",
            ),
            ("0100000200000000000000004000000000000000", "cap_perfmon=ep"),
            (
                "010000020020000000200000000000000000000000000000",
                "cap_net_raw=eip",
            ),
            (
                "01000001002000000100000000000000",
                "cap_chown=ei cap_net_raw=ep",
            ),
            ("0000000a", "0000000a"),
            ("", ""),
            ("01000002", "01000002"),
        ] {
            assert_eq!(text(value), expected, "{value}");
        }
    }
}
