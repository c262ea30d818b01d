//! The seeds of the fuzz targets: small inputs that the program's own writers make, from which
//! libFuzzer starts. `HULLWRIGHT_WRITE_SEEDS=1 cargo test --test cli seeds` writes them anew.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use hullwright::arch::Arch;
use hullwright::archive::{cleartext, openpgp::Keyring, packages};
use hullwright::digest::Sha256;
use hullwright::disk::GptTable;
use hullwright::disk::format::{Entry, Header};
use hullwright::erofs::{Codec, CodecSettings, Image, ImageOptions, PackBy, Plan, Tails};
use hullwright::esp::{self, EspContent, EspFile, EspReader};
use hullwright::kernel::index::{Builder, Index};
use hullwright::release::index::{File, Layout, Release};
use hullwright::release::names::Role;
use hullwright::release::sums::Sums;
use hullwright::resolve::Lock;
use hullwright::sign::efi::{Signature, auth, siglist};
use hullwright::sign::openpgp::ReleaseKeys;
use hullwright::stamp::Stamp;
use hullwright::tree::{Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};
use hullwright::uki::{self, Pe, Section};
use hullwright::{initrd, package, profile, release, verity};
use uuid::Uuid;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Tree {
    let file = |content: Vec<u8>, link| Kind::File {
        content: content.into(),
        link,
    };
    let words = "a linker for operating systems ".repeat(700).into_bytes();
    let mut mixed = words.clone();
    mixed.extend((0..9000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    let mut tree = Tree::new();
    for (path, kind) in [
        ("", Kind::Dir),
        ("bin", Kind::Dir),
        ("bin/a", file(words, Some(LinkGroup(1)))),
        ("bin/b", Kind::Symlink(b"../lib/none".to_vec())),
        ("lib", Kind::Dir),
        ("lib/empty", file(Vec::new(), None)),
        ("lib/mixed", file(mixed, None)),
        ("lib/short", file(b"short".to_vec(), None)),
        ("lib/pipe", Kind::Fifo),
        ("lib/null", Kind::CharDevice { major: 1, minor: 3 }),
    ] {
        let mut meta = Meta::root(0o755);
        if path == "lib/short" {
            meta.xattrs
                .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
        }
        let node = Node {
            meta,
            kind,
            origin: Origin::Generated("seed".into()),
        };
        tree.insert(TreePath::parse(path).unwrap(), node);
    }
    let again = tree
        .get(&TreePath::parse("bin/a").unwrap())
        .unwrap()
        .clone();
    tree.insert(TreePath::parse("bin/c").unwrap(), again);
    tree
}

fn erofs(codec: Codec, tails: Tails) -> Vec<u8> {
    let options = ImageOptions {
        stamp: Stamp::from_seconds(1),
        uuid: Uuid::from_u128(1),
        label: "usr".into(),
        settings: CodecSettings {
            codec,
            level: 3,
            chunk: 65536,
            tails,
        },
        packs: PackBy::Image,
    };
    let mut out = Vec::new();
    Plan::new(&tree(), &options)
        .unwrap()
        .emit(&mut out)
        .unwrap();
    out
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        out.append_data(&mut header, name, *data).unwrap();
    }
    out.into_inner().unwrap()
}

fn deb(suffix: &str, compress: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let control = "Package: seed\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n\
                   Description: a seed\n";
    let long = format!("./usr/share/{}/file", "long".repeat(40));
    let control = compress(tar(&[("./control", control.as_bytes())]));
    let data = compress(tar(&[
        ("./usr/bin/seed", b"seed"),
        (&long, b"named by PAX"),
    ]));
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in [
        ("debian-binary".to_owned(), &b"2.0\n"[..]),
        (format!("control.tar{suffix}"), &control),
        (format!("data.tar{suffix}"), &data),
    ] {
        let len = data.len();
        writeln!(
            out,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`",
            0, 0, 0, 100_644
        )
        .unwrap();
        out.extend_from_slice(data);
        if len % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

fn gzip(plain: Vec<u8>) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(&plain).unwrap();
    writer.finish().unwrap()
}

fn xz(plain: Vec<u8>) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(&plain).unwrap();
    writer.finish().unwrap()
}

/// A table of four entries: the real one has 128, of which a fuzzer would learn nothing more.
fn gpt() -> Vec<u8> {
    let entry = |number: u64| Entry {
        type_guid: Uuid::from_u128(number.into()),
        guid: Uuid::from_u128(u128::from(number) << 64),
        first: 3,
        last: 3 + number,
        attributes: 1 << 60,
        name: format!("seed_{number}"),
    };
    let entries = [entry(1).to_bytes(), entry(2).to_bytes(), [0; 128], [0; 128]].concat();
    let header = Header {
        at: 1,
        other: 7,
        first_usable: 3,
        last_usable: 6,
        disk_guid: Uuid::from_u128(9),
        entries_at: 2,
        entries: 4,
        entry_len: 128,
        entries_crc: crc32fast::hash(&entries),
    };
    let mut out = vec![0; 8 * 512];
    out[512..512 + 92].copy_from_slice(&header.to_bytes());
    out[1024..1536].copy_from_slice(&entries);
    out
}

/// The volume that the writer makes, less the space that it leaves: one sector before the FAT, one
/// FAT of one sector, the first clusters.
fn fat() -> Vec<u8> {
    let file = |path: &str, len: usize| EspFile {
        path: path.into(),
        data: vec![7; len].into(),
    };
    let image = esp::build(&EspContent {
        files: vec![file("EFI/BOOT/BOOTX64.EFI", 700), file("a.conf", 9)],
        size: 33 << 20,
        label: "ESP".into(),
        serial: 7,
        stamp: Stamp::from_seconds(1_800_000_000),
    })
    .unwrap();
    let mut whole = Vec::new();
    for run in image.runs() {
        whole.resize(run.offset as usize, 0);
        whole.extend(run.pieces().flatten());
    }
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([whole[at], whole[at + 1]]));
    let (reserved, fats) = (u16_at(14) * 512, usize::from(whole[16]));
    let fat_len = (u16_at(36) | u16_at(38) << 16) * 512;
    let data = &whole[reserved + fats * fat_len..];
    let data = &data[..data.len().min(24 * 512)];
    let mut out = whole[..512].to_vec();
    out[14..16].copy_from_slice(&1_u16.to_le_bytes());
    out[16] = 1;
    out[32..36].copy_from_slice(&(2 + data.len() as u32 / 512).to_le_bytes());
    out[36..40].copy_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&whole[reserved..reserved + 512]);
    out.extend_from_slice(data);
    out
}

/// A PE32+ image of one section, as small as the format allows.
pub fn stub() -> Vec<u8> {
    let mut out = vec![0; 0x800];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &[0x64, 0x86, 1, 0]);
    put(0x54, &[0xf0]);
    put(0x58, &[0x0b, 0x02]);
    // SectionAlignment, FileAlignment, SizeOfImage, SizeOfHeaders, DllCharacteristics, directories.
    put(0x58 + 32, &0x1000_u32.to_le_bytes());
    put(0x58 + 36, &0x200_u32.to_le_bytes());
    put(0x58 + 56, &0x2000_u32.to_le_bytes());
    put(0x58 + 60, &0x600_u32.to_le_bytes());
    put(0x58 + 70, &0x0160_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    put(0x148, b".sbat\0\0\0");
    for (at, value) in [
        (8, 26_u32),
        (12, 0x1000),
        (16, 0x200),
        (20, 0x600),
        (36, 0x4000_0040),
    ] {
        put(0x148 + at, &value.to_le_bytes());
    }
    put(0x600, b"sbat,1,x\nsystemd-stub,1,s\n");
    out
}

fn verity() -> Vec<u8> {
    let image = vec![5; 3 * 4096];
    let mut out = Vec::new();
    let mut input = image.as_slice();
    let len = input.len() as u64;
    verity::build(&mut input, len, &[7; 32], Uuid::from_u128(2), &mut out).unwrap();
    out
}

const PACKAGES: &str = "Package: a\nVersion: 1:2.0~rc1-3+b1\nArchitecture: amd64\nMulti-Arch: same\n\
    Maintainer: A <a@example.org>\nPre-Depends: dpkg (>= 1.17) | b:any\n\
    Depends: libc6 (>= 2.38) [!arm64], c <!nocheck>\nProvides: d (= 2)\nConflicts: e\n\
    Filename: pool/main/a/a/a_2_amd64.deb\nSize: 1234\n\
    SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
    Description: one\n two\n\nPackage: b\nVersion: 1\nArchitecture: all\n\
    Filename: pool/b.deb\nSize: 1\n\
    SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee\n";

const LOCK: &str = "# made by hullwright lock; do not edit\nlock: 1\nprofile: seed\narch: x86_64\n\
    profile_hash: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\ntool: \"0.1.0\"\n\
    codecs:\n  erofs: \"1\"\nstamp: 1\nsuites: []\npackages: []\nfiles: {}\nids: {}\n";

fn with_sum(body: &str) -> Vec<u8> {
    let sum = Sha256::of(body.as_bytes());
    format!("{body}# SHA-256 of the lines above: {sum}\n").into_bytes()
}

fn read(path: &str) -> Vec<u8> {
    fs::read(repository().join(path)).unwrap()
}

/// The base profile with the version that only a profile for people has.
fn base_profile() -> Vec<u8> {
    let text = String::from_utf8(read("profiles/container-host.yaml")).unwrap();
    let id = "  id: hullwright\n";
    assert!(text.contains(id));
    text.replacen(id, "  id: hullwright\n  version: 1.0.0\n", 1)
        .into_bytes()
}

/// Target, name, bytes.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let cpio = {
        let tree = tree();
        let members = initrd::cpio::members(&tree, Stamp::from_seconds(1), 1).unwrap();
        initrd::cpio::write(&members).unwrap()
    };
    let mut index = Builder::new();
    for (at, key) in ["pci:v1d*", "pci:v1d2", "usb", "usbcore"]
        .iter()
        .enumerate()
    {
        index.insert(key.as_bytes(), b"module", at as u32).unwrap();
    }
    let uki = uki::assemble(
        &stub(),
        &[
            Section {
                name: ".osrel",
                data: b"ID=seed\n",
            },
            Section {
                name: ".cmdline",
                data: b"usrhash=00 ro",
            },
        ],
    )
    .unwrap();
    let armour = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: seed\n- -dash\n\
        -----BEGIN PGP SIGNATURE-----\n\nwsFzBAEBCgAnBQJlAAAACRAAAAAAAAAAAA==\n\
        -----END PGP SIGNATURE-----\n";
    vec![
        ("cleartext", "armour", armour.into()),
        ("inrelease", "armour", armour.into()),
        (
            "inrelease",
            "keyring",
            read("profiles/keyrings/debian/trixie-stable.pgp"),
        ),
        ("cpio", "plain", cpio.clone()),
        (
            "cpio",
            "zstd",
            zstd::encode_all(cpio.as_slice(), 3).unwrap(),
        ),
        ("deb", "none", deb("", |plain| plain)),
        ("deb", "gzip", deb(".gz", gzip)),
        ("deb", "xz", deb(".xz", xz)),
        (
            "deb",
            "zstd",
            deb(".zst", |plain| {
                zstd::encode_all(plain.as_slice(), 3).unwrap()
            }),
        ),
        // Made by GCC, with a module's information and a note: no writer of ours makes ELF.
        ("elf", "shared", read("fuzz/seeds/elf/shared")),
        ("erofs", "plain", erofs(Codec::None, Tails::Own)),
        ("erofs", "lz4", erofs(Codec::Lz4hc, Tails::Own)),
        ("erofs", "zstd", erofs(Codec::Zstd, Tails::Own)),
        ("erofs", "packed", erofs(Codec::Zstd, Tails::Packed)),
        ("fat", "esp", fat()),
        ("gpt", "table", gpt()),
        ("kmod", "index", index.finish().unwrap()),
        ("lock", "empty", with_sum(LOCK)),
        ("packages", "index", PACKAGES.into()),
        ("pe", "stub", stub()),
        ("pe", "uki", uki),
        ("profile", "base", base_profile()),
        (
            "release_index",
            "index",
            release_index().to_text().unwrap().into(),
        ),
        (
            "release_sums",
            "sums",
            release::signed::sums(&release_index(), Arch::X86_64)
                .to_text()
                .into(),
        ),
        // Made with a key that is gone.
        (
            "release_sums",
            "release.asc",
            read("fuzz/seeds/release_sums/release.asc"),
        ),
        (
            "release_sums",
            "signature",
            read("fuzz/seeds/release_sums/signature"),
        ),
        ("siglist", "list", siglist()),
        ("siglist", "signed", signed_variable()),
        ("verity", "tree", verity()),
    ]
}

/// A channel with two releases, one of them withdrawn.
fn release_index() -> release::Index {
    let mut index = release::Index::new("stable");
    index.serial = 3;
    let product = index.product_mut("seed", Arch::X86_64);
    for version in ["1.0~rc1", "1.0"] {
        let root_hash = Sha256::of(version.as_bytes());
        let file = |role: Role| File {
            name: role.file_name("seed", version, &root_hash),
            role,
            size: 4096,
            sha256: Sha256::of(b"seed"),
        };
        product.releases.push(Release {
            version: version.into(),
            stamp: 1,
            root_hash,
            layout: Layout {
                esp: 1 << 30,
                usr: 1 << 30,
                verity: 1 << 20,
                signature: 1 << 20,
            },
            files: Role::REQUIRED.map(file).to_vec(),
            yanked: None,
        });
    }
    product.releases[1].yanked = Some("it lost the network".into());
    product.current = Some("1.0~rc1".into());
    index
}

fn siglist() -> Vec<u8> {
    let signatures = [
        Signature::Certificate(b"certificate".to_vec()),
        Signature::Sha256([7; 32]),
        Signature::Sha256([8; 32]),
    ];
    let entries = signatures.map(|signature| siglist::Entry {
        owner: Uuid::from_u128(7),
        signature,
    });
    siglist::write(&entries).unwrap()
}

/// The header of a signed variable, with a signature that is none.
fn signed_variable() -> Vec<u8> {
    use hullwright::sign::efi::format::{
        CERT_TYPE_PKCS7, TIME_LEN, WIN_CERT_REVISION, WIN_CERT_TYPE_EFI_GUID, WIN_CERTIFICATE_LEN,
    };
    let mut time = [0; TIME_LEN];
    time[..7].copy_from_slice(&[0xe8, 7, 5, 6, 7, 8, 9]);
    let signature = b"\x30\x00";
    let len = (WIN_CERTIFICATE_LEN + signature.len()) as u32;
    let mut out = time.to_vec();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&WIN_CERT_REVISION.to_le_bytes());
    out.extend_from_slice(&WIN_CERT_TYPE_EFI_GUID.to_le_bytes());
    out.extend_from_slice(&CERT_TYPE_PKCS7.to_bytes_le());
    out.extend_from_slice(signature);
    out.extend_from_slice(&siglist());
    out
}

fn folder() -> PathBuf {
    repository().join("fuzz/seeds")
}

#[test]
fn every_seed_is_what_its_target_reads() {
    if std::env::var_os("HULLWRIGHT_WRITE_SEEDS").is_some() {
        for (target, name, bytes) in seeds() {
            let dir = folder().join(target);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
    for (target, name, _) in seeds() {
        let path = folder().join(target).join(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(bytes.len() < 64 << 10, "{target}/{name} is not small");
        let good = match target {
            // Its signature is none.
            "cleartext" => cleartext::parse(&bytes).is_err(),
            "inrelease" => name == "armour" || Keyring::parse(&bytes).is_ok(),
            "cpio" => initrd::list(&bytes, |_| Ok(())).is_ok(),
            "deb" => package::control_text(&bytes).is_ok(),
            "elf" => hullwright::elf::parse(&bytes).is_ok_and(|elf| elf.is_some()),
            "erofs" => Image::open(bytes.as_slice()).is_ok_and(|image| image.walk().is_ok()),
            "fat" => EspReader::open(Cursor::new(&bytes), 0).is_ok_and(|mut esp| {
                esp.read("EFI/BOOT/BOOTX64.EFI")
                    .is_ok_and(|b| b.len() == 700)
            }),
            "gpt" => {
                GptTable::read(&mut Cursor::new(&bytes)).is_ok_and(|t| t.partitions.len() == 2)
            }
            "kmod" => Index::parse(&bytes).is_ok_and(|index| index.entries().is_ok()),
            "lock" => Lock::parse(std::str::from_utf8(&bytes).unwrap(), "seed".as_ref()).is_ok(),
            "packages" => packages::parse(&bytes, "amd64").is_ok_and(|list| list.len() == 2),
            "pe" => Pe::parse(&bytes).is_ok(),
            "profile" => profile::parse_bytes(&bytes).is_ok(),
            "release_index" => release::Index::parse(&bytes).is_ok(),
            "release_sums" => match name {
                "sums" => Sums::parse(&bytes).is_ok(),
                "release.asc" => ReleaseKeys::parse(std::str::from_utf8(&bytes).unwrap()).is_ok(),
                _ => bytes.starts_with(&[0xC2, 0x75]),
            },
            "siglist" if name == "list" => siglist::read(&bytes).is_ok(),
            "siglist" => auth::payload(&bytes).is_ok_and(|list| siglist::read(list).is_ok()),
            "verity" => verity::SuperBlock::parse(&bytes).is_ok(),
            _ => false,
        };
        assert!(good, "{target}/{name}");
    }
}
