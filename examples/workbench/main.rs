//! Does one thing at a time, for `cargo xtask bench` to measure from outside:
//!
//! ```text
//! cargo run --release --example workbench -- erofs --codec zstd --level 3 --chunk 262144 TREE IMAGE
//! cargo run --release --example workbench -- --help
//! ```
//!
//! Each subcommand prints one line of JSON.

mod hash;
mod packages;
mod reading;
mod tree;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use hullwright::erofs;
use serde_json::Value;
use uuid::Uuid;

/// One thing at a time, for benchmarks.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a folder as an EROFS image.
    Erofs {
        #[command(flatten)]
        settings: Settings,
        /// Which files' ends are packed together.
        #[arg(long, default_value = "image")]
        packing: Packing,
        /// JSON that says which package each file comes from.
        #[arg(long, value_name = "FILE")]
        origins: Option<PathBuf>,
        /// The folder.
        tree: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// Compress every chunk of the files of a folder once, and throw the result away.
    Compress {
        #[command(flatten)]
        settings: Settings,
        /// The folder.
        tree: PathBuf,
    },
    /// Make the hash tree of an image.
    Verity {
        /// 64 hexadecimal digits.
        #[arg(long)]
        salt: Salt,
        /// UUID of the hash device.
        #[arg(long)]
        uuid: Uuid,
        /// The image.
        image: PathBuf,
        /// The hash tree.
        hashes: PathBuf,
    },
    /// Hash every block of a file in memory: as verity does, and as fast as can be.
    Sha256 {
        /// 64 hexadecimal digits.
        #[arg(long)]
        salt: Salt,
        /// The file.
        file: PathBuf,
    },
    /// Read the data archives of packages to their end.
    Unpack {
        /// `.deb` files.
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Tell which package each file below /usr comes from.
    Origins {
        /// `.deb` files.
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Copy the compressed data archives of packages into a folder.
    Members {
        /// The folder.
        #[arg(long)]
        to: PathBuf,
        /// `.deb` files.
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Read the files of a folder.
    Read {
        /// Every file, from its beginning, in the order of names.
        #[arg(long, required_unless_present = "random", conflicts_with = "random")]
        sequential: bool,
        /// So many blocks of 4 KiB, at places that depend on names and sizes only.
        #[arg(long, value_name = "READS")]
        random: Option<u64>,
        /// The folder.
        tree: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Settings {
    /// Codec of chunks.
    #[arg(long)]
    codec: Codec,
    /// Its level.
    #[arg(long)]
    level: i32,
    /// Bytes of a chunk.
    #[arg(long)]
    chunk: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Zstd,
    Lz4hc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Packing {
    None,
    Package,
    Image,
}

impl Packing {
    const fn tails(self) -> erofs::Tails {
        match self {
            Self::None => erofs::Tails::Own,
            Self::Package | Self::Image => erofs::Tails::Packed,
        }
    }

    const fn packs(self) -> erofs::PackBy {
        match self {
            Self::Package => erofs::PackBy::Package,
            Self::None | Self::Image => erofs::PackBy::Image,
        }
    }
}

impl Settings {
    const fn codec(self) -> erofs::CodecSettings {
        erofs::CodecSettings {
            codec: match self.codec {
                Codec::None => erofs::Codec::None,
                Codec::Zstd => erofs::Codec::Zstd,
                Codec::Lz4hc => erofs::Codec::Lz4hc,
            },
            level: self.level,
            chunk: self.chunk,
            tails: erofs::Tails::Own,
        }
    }
}

/// A salt, written in hexadecimal.
#[derive(Debug, Clone, Copy)]
struct Salt([u8; 32]);

impl std::str::FromStr for Salt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digest: hullwright::digest::Sha256 = text
            .parse()
            .map_err(|_| format!("`{text}` is not 64 hexadecimal digits"))?;
        Ok(Self(digest.0))
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Value> {
    match command {
        Command::Erofs {
            settings,
            packing,
            origins,
            tree,
            image,
        } => write::erofs(settings, packing, origins.as_deref(), &tree, &image),
        Command::Compress { settings, tree } => write::compress(settings, &tree),
        Command::Verity {
            salt,
            uuid,
            image,
            hashes,
        } => hash::verity(&salt.0, uuid, &image, &hashes),
        Command::Sha256 { salt, file } => hash::sha256(&salt.0, &file),
        Command::Unpack { packages } => packages::unpack(&packages),
        Command::Origins { packages } => packages::origins(&packages),
        Command::Members { to, packages } => packages::members(&to, &packages),
        Command::Read { random, tree, .. } => match random {
            Some(reads) => reading::random(&tree, reads),
            None => reading::sequential(&tree),
        },
    }
}
