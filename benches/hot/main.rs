//! The loops that builds spend their time in, each alone and on one input: `cargo bench`.
//!
//! What a whole build takes is the business of `cargo xtask bench`; these say which loop to look at
//! when that has changed.
#![allow(
    clippy::expect_used,
    reason = "an input that can't be made leaves nothing to measure"
)]

mod input;

use std::hint::black_box;
use std::io::{self, Write as _};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use hullwright::archive::packages;
use hullwright::digest::Sha256;
use hullwright::erofs::{Blob, Codec, CodecSettings, Tails};
use hullwright::kernel::{ModuleIndex, depmod};
use hullwright::package::limits::LIMITS;
use hullwright::package::{self, tarball};
use hullwright::tree;
use hullwright::verity::LeafHasher;

fn main() {
    divan::main();
}

const KIB: usize = 1024;

const fn settings(codec: Codec, level: i32) -> CodecSettings {
    CodecSettings {
        codec,
        level,
        chunk: 256 * KIB as u32,
        tails: Tails::Own,
    }
}

/// One chunk, which is compressed on one thread.
#[divan::bench(args = [("none", 0), ("zstd", 1), ("zstd", 3), ("zstd", 9), ("lz4hc", 9)])]
fn compress_chunk(bencher: Bencher<'_, '_>, (codec, level): (&str, i32)) {
    let codec = match codec {
        "zstd" => Codec::Zstd,
        "lz4hc" => Codec::Lz4hc,
        _ => Codec::None,
    };
    let settings = settings(codec, level);
    let bytes = input::prose(256 * KIB);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| Blob::compile(black_box(&bytes), &settings));
}

/// Small files, which are most of a tree: what is around the codec counts.
#[divan::bench]
fn compress_small_files(bencher: Bencher<'_, '_>) {
    let settings = settings(Codec::Zstd, 3);
    let files: Vec<Vec<u8>> = (1..=64).map(|n| input::prose(n * 97)).collect();
    bencher.counter(ItemsCount::new(files.len())).bench(|| {
        for bytes in &files {
            black_box(Blob::compile(black_box(bytes), &settings));
        }
    });
}

/// The leaf hashes of a tree, on all threads.
#[divan::bench]
fn verity_leaves(bencher: Bencher<'_, '_>) {
    let bytes = input::prose(8 * KIB * KIB);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let mut hasher = LeafHasher::new(io::sink(), [7; 32]);
        hasher
            .write_all(black_box(&bytes))
            .expect("a sink takes everything");
        hasher.finish().expect("these are whole blocks")
    });
}

/// The upper levels of a tree, when its leaves are known.
#[divan::bench]
fn verity_upper_levels(bencher: Bencher<'_, '_>) {
    let mut hasher = LeafHasher::new(io::sink(), [7; 32]);
    hasher
        .write_all(&input::prose(8 * KIB * KIB))
        .expect("a sink takes everything");
    let (_, leaves) = hasher.finish().expect("these are whole blocks");
    bencher.bench(|| {
        black_box(&leaves)
            .write(uuid::Uuid::from_u128(1), &mut io::sink())
            .expect("a sink takes everything")
    });
}

/// A data archive of many small files.
#[divan::bench]
fn walk_tar(bencher: Bencher<'_, '_>) {
    let archive = input::tar("usr/share/things", 2000);
    bencher.counter(BytesCount::new(archive.len())).bench(|| {
        let mut bytes = 0;
        tarball::walk(black_box(archive.as_slice()), &LIMITS, |_, data| {
            bytes += data.read()?.len();
            Ok(())
        })
        .expect("the archive is sound");
        bytes
    });
}

/// Packages that share their folders, becoming one tree.
#[divan::bench]
fn merge_tree(bencher: Bencher<'_, '_>) {
    let objects: Vec<_> = (0..40)
        .map(|number| {
            let deb = input::deb(number, 100);
            let hash = Sha256::of(&deb);
            let object = package::parse(deb, hash, &settings(Codec::None, 0));
            std::sync::Arc::new(object.expect("the package is sound"))
        })
        .collect();
    bencher
        .counter(ItemsCount::new(40_usize * 100))
        .bench(|| tree::merge(black_box(&objects)).expect("no package has another's file"));
}

/// depmod's files, of modules that are read already.
#[divan::bench]
fn depmod_index(bencher: Bencher<'_, '_>) {
    let modules = input::modules(1500);
    let index =
        ModuleIndex::new("6.12.0", modules, Default::default()).expect("there are no circles");
    bencher
        .counter(ItemsCount::new(1500_usize))
        .bench(|| depmod::files(black_box(&index)).expect("names are names"));
}

/// An index of packages, as Debian writes it.
#[divan::bench]
fn scan_packages(bencher: Bencher<'_, '_>) {
    let index = input::packages(5000);
    bencher
        .counter(BytesCount::new(index.len()))
        .bench(|| packages::parse(black_box(&index), "amd64").expect("the index is sound"));
}
