//! Bounds on what a package may declare, checked before anything is allocated for it.
//!
//! They are far above what Debian ships (the largest package of the archive unpacks to about
//! 3 GiB) and low enough that a hostile archive runs out of bounds before the machine runs out of
//! memory.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Upper bounds of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The `.deb` itself.
    pub deb: u64,
    /// `control.tar` after decompression.
    pub control_tar: u64,
    /// `data.tar` after decompression.
    pub data_tar: u64,
    /// One file.
    pub file: u64,
    /// One file of `control.tar` that is read.
    pub control_file: u64,
    /// One extension header (long name, PAX records) and all the headers before one member.
    pub header: u64,
    /// Members of `data.tar`.
    pub entries: usize,
}

/// The bounds that builds use.
pub const LIMITS: Limits = Limits {
    deb: 2 * GIB,
    control_tar: 64 * MIB,
    data_tar: 8 * GIB,
    file: GIB,
    control_file: 16 * MIB,
    header: MIB,
    entries: 1_000_000,
};

/// Memory in KiB that a decoder may take for its dictionary or window. `xz -9` needs 65 MiB,
/// `zstd --long` 128 MiB.
pub const DECODER_MEMORY_KIB: u32 = 160 << 10;

/// Zstandard's window, as the exponent of two: that of `zstd --long`.
pub const ZSTD_WINDOW_LOG: u32 = 27;

/// Decompressed blocks of one xz file that may wait to be read.
pub const XZ_READ_AHEAD: u64 = 72 * MIB;

/// xz files below this size are not worth a second thread.
pub const XZ_PARALLEL_FROM: usize = MIB as usize;

/// Memory that all packages under way may take together, whatever the number of cores.
pub const COMPILE_MEMORY: u64 = 320 * MIB;

/// What a package under way takes besides what grows with its size: decoder dictionary, buffers.
pub const COMPILE_OVERHEAD: u64 = 16 * MIB;

/// A package under way takes up to so many times the size of its `.deb`: the file itself, the
/// largest member in memory, blocks read ahead.
pub const COMPILE_FACTOR: u64 = 4;

/// Files above this size are compiled while they are read instead of from memory.
pub const STREAM_FROM: u64 = MIB;

/// What a reader asks for before it has seen how much there really is.
pub const FIRST_ALLOCATION: u64 = 256 * KIB;
