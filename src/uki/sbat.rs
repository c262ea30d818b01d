//! The `.sbat` section: generation numbers by which a revoked component is refused (shim's SBAT.md).

/// The line that every SBAT begins with.
const HEADER: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md";
/// The line that a unified kernel image adds.
const UKI: &str =
    "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/";

/// The line of an addon, as ukify writes it.
const ADDON: &str = "uki-addon,1,UKI Addon,addon,1,https://www.freedesktop.org/software/systemd/man/latest/systemd-stub.html";

/// The SBAT of an addon.
#[must_use]
pub fn of_addon() -> Vec<u8> {
    format!("{HEADER}\n{ADDON}\n\0").into_bytes()
}

/// One SBAT for an image made of `parts`, each the content of a `.sbat` section: one header, the
/// other lines of every part, and the line of the UKI itself, so that each component can be revoked.
/// A part that is no SBAT is left out. Ends with a zero, as ukify writes it.
#[must_use]
pub fn merge(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = String::from(HEADER);
    for part in parts {
        let Ok(part) = std::str::from_utf8(part) else {
            continue;
        };
        let mut lines = part.trim_end_matches('\0').lines();
        if !lines.next().is_some_and(|line| line.starts_with("sbat,")) {
            continue;
        }
        for line in lines {
            text.push('\n');
            text.push_str(line);
        }
    }
    text.push('\n');
    text.push_str(UKI);
    text.push_str("\n\0");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_parts_follow_one_header() {
        let merged = merge(&[
            b"sbat,1,x\nstub,1,a\nstub.debian,1,b\n\0\0",
            b"not an sbat",
            b"",
            b"\xff\xfe",
            b"sbat,1,x\nlinux,1,c\n",
        ]);
        assert_eq!(
            String::from_utf8(merged).unwrap(),
            format!("{HEADER}\nstub,1,a\nstub.debian,1,b\nlinux,1,c\n{UKI}\n\0")
        );
    }
}
