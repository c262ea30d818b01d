//! `/usr` with another root hash, and root hashes that the wrong key or nobody has signed.

use std::fs;
use std::path::Path;

use crate::slots;
use crate::support::{good, tool};

/// Puts other data with a valid hash tree of its own into slot A of `disk`; names stay as they are.
pub fn replace_usr(disk: &Path, output: &Path, dir: &Path) {
    let data = dir.join("other-usr");
    let tree = dir.join("other-verity");
    let mut bytes = fs::read(output.join("usr.erofs")).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&data, bytes).unwrap();
    let text = good(tool("veritysetup").arg("format").arg(&data).arg(&tree));
    let root = text
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .unwrap()
        .trim();
    good(
        tool("veritysetup")
            .arg("verify")
            .arg(&data)
            .arg(&tree)
            .arg(root),
    );
    slots::copy_into(disk, 2, &data);
    slots::copy_into(disk, 3, &tree);
    fs::remove_file(data).unwrap();
    fs::remove_file(tree).unwrap();
}

/// A signature of `root_hash` as the kernel takes it, by the verity key of `keys`, made by OpenSSL.
pub fn signature(root_hash: &str, keys: &Path, dir: &Path) -> Vec<u8> {
    let (text, p7s) = (dir.join("root-hash"), dir.join("root-hash.p7s"));
    fs::write(&text, root_hash).unwrap();
    good(
        tool("openssl")
            .args([
                "smime", "-sign", "-nocerts", "-noattr", "-binary", "-outform", "der",
            ])
            .arg("-in")
            .arg(&text)
            .arg("-inkey")
            .arg(keys.join("verity.key"))
            .arg("-signer")
            .arg(keys.join("verity.crt"))
            .arg("-out")
            .arg(&p7s),
    );
    fs::read(p7s).unwrap()
}

/// A copy of the UKI `program` with `signature` in the place of its root hash's, unsigned.
pub fn put_signature(program: &Path, signature: &[u8], to: &Path) {
    const NAME: &[u8] = b"usr/lib/hullwright/usr.p7s\0";
    // Of the last: the initrd's file list may have the name too.
    let mut bytes = fs::read(program).unwrap();
    let name = bytes.windows(NAME.len()).rposition(|w| w == NAME).unwrap();
    // newc (cpio(5)): 110 bytes of header, the size of the file in 8 hexadecimal digits at 54.
    let header = name - 110;
    assert_eq!(&bytes[header..header + 6], b"070701");
    let field = header + 54..header + 62;
    let digits = String::from_utf8(bytes[field.clone()].to_vec()).unwrap();
    let old = usize::from_str_radix(&digits, 16).unwrap();
    let padded = |length: usize| length.next_multiple_of(4);
    let data = header + padded(110 + NAME.len());
    let trailer = data + padded(old);
    // The trailer's header, name and padding.
    let rest = bytes[trailer..trailer + 124].to_vec();
    assert_eq!(&rest[..6], b"070701");
    bytes[field].copy_from_slice(format!("{:08X}", signature.len()).as_bytes());
    let longest = padded(old).max(padded(signature.len()));
    bytes[data..data + longest + rest.len()].fill(0);
    bytes[data..data + signature.len()].copy_from_slice(signature);
    let trailer = data + padded(signature.len());
    bytes[trailer..trailer + rest.len()].copy_from_slice(&rest);
    fs::write(to, bytes).unwrap();
}
