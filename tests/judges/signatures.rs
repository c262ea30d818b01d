//! Signatures that others made and the image must keep, and those that it must not have.

use std::fs;

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::Decode as _;
use hullwright::kernel::{decompress, plain_path};
use hullwright::tree::Kind;
use hullwright::uki::Pe;
use rayon::prelude::*;

use crate::fixture::{fixture, timed};
use crate::image::{uki, usr};

/// What ends a signed module (Linux, `include/linux/module_signature.h`).
const MAGIC: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`: algorithm, hash, kind of identifier, two lengths, padding, and the
/// length of the signature, big-endian.
const BLOCK: usize = 12;
/// `PKEY_ID_PKCS7`.
const PKCS7: u8 = 2;

/// Panics unless `module` ends in one signature that is whole.
fn assert_signed(name: &str, module: &[u8]) {
    let rest = module
        .strip_suffix(MAGIC)
        .unwrap_or_else(|| panic!("{name} has no signature"));
    let (rest, block) = rest.split_at(rest.len() - BLOCK);
    assert_eq!(block[2], PKCS7, "{name}");
    let len = u32::from_be_bytes(block[8..12].try_into().unwrap()) as usize;
    let (object, signature) = rest.split_at(rest.len() - len);
    assert!(object.starts_with(b"\x7fELF"), "{name}");
    let info = ContentInfo::from_der(signature).unwrap_or_else(|e| panic!("{name}: {e}"));
    let signed: SignedData = info.content.decode_as().unwrap();
    assert_eq!(signed.signer_infos.0.len(), 1, "{name}");
}

#[test]
fn modules_keep_their_signatures_in_usr_and_in_the_initrd() {
    let modules: Vec<_> = usr()
        .iter()
        .filter_map(|(path, node)| Some((path.to_string(), node.content()?)))
        .filter(|(path, _)| plain_path(path).ends_with(".ko"))
        .collect();
    timed("the modules of /usr", || {
        modules.par_iter().for_each(|(path, content)| {
            let bytes = content.read().unwrap();
            assert_signed(path, &decompress(path, &bytes).unwrap());
        });
    });
    let in_usr = modules.len();
    assert!(in_usr > 100, "{in_usr} modules in /usr");

    let mut in_initrd = 0;
    let uki = fs::read(uki(fixture())).unwrap();
    let initrd = Pe::parse(&uki).unwrap().section(".initrd").unwrap();
    hullwright::initrd::list(initrd, |entry| {
        let name = String::from_utf8_lossy(entry.name);
        if name.ends_with(".ko") {
            assert_signed(&name, entry.data);
            in_initrd += 1;
        }
        assert!(!name.contains(".ko."), "{name} is still compressed");
        Ok(())
    })
    .unwrap();
    assert!(in_initrd > 10, "{in_initrd} modules in the initrd");
    println!("{in_usr} modules in /usr, {in_initrd} in the initrd");
}

#[test]
fn nothing_in_usr_is_a_signed_efi_program() {
    let mut programs = Vec::new();
    for (path, node) in usr().iter() {
        let Kind::File { content, .. } = &node.kind else {
            continue;
        };
        let bytes = content.read().unwrap();
        if bytes.starts_with(b"MZ")
            && let Ok(pe) = Pe::parse(&bytes)
        {
            programs.push((path.to_string(), pe.certificates().is_some()));
        }
    }
    assert!(programs.iter().all(|(_, signed)| !signed), "{programs:?}");
}
