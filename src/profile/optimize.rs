//! What an image is made for: the settings of compression that follow from one word.

use serde::{Deserialize, Serialize};

use super::schema::{Compression, Packing};
use crate::erofs::Codec;

/// What an image is made for, where time and size are at odds. The figures behind the settings are in
/// docs/benchmarks.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// Built many times a day, thrown away the same day.
    Speed,
    /// Built once, downloaded often.
    #[default]
    Balanced,
    /// Every byte counts.
    Size,
}

impl Optimize {
    /// What a profile gets that names none.
    #[must_use]
    pub const fn usual(development: bool) -> Self {
        if development {
            Self::Speed
        } else {
            Self::Balanced
        }
    }

    /// How `/usr` is compressed with `codec`.
    #[must_use]
    pub const fn compression(self, codec: Codec) -> Compression {
        let level = match (codec, self) {
            (Codec::None, _) => 0,
            (Codec::Zstd, Self::Speed) => 3,
            (Codec::Zstd, Self::Balanced) => 9,
            (Codec::Zstd, Self::Size) => 19,
            (Codec::Lz4hc, Self::Speed) => 3,
            (Codec::Lz4hc, Self::Balanced) => 9,
            (Codec::Lz4hc, Self::Size) => 12,
        };
        let chunk = match self {
            Self::Speed | Self::Balanced => 256 * 1024,
            Self::Size => 512 * 1024,
        };
        let packing = match (codec, self) {
            (Codec::None, _) => Packing::None,
            (_, Self::Speed | Self::Balanced) => Packing::Package,
            (_, Self::Size) => Packing::Image,
        };
        Compression {
            codec,
            level,
            chunk,
            packing,
        }
    }

    /// The level of zstd for the initrd.
    #[must_use]
    pub const fn initrd_level(self) -> i32 {
        match self {
            Self::Speed => 6,
            Self::Balanced => 12,
            Self::Size => 19,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, parse_bytes};

    fn profile(more: &str) -> Profile {
        let text = format!(
            "name: t\nos: {{id: t, name: T, version: 1}}\nkernel: {{package: linux}}\n{more}"
        );
        parse_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_word_sets_what_the_profile_leaves_open() {
        assert_eq!(profile("").optimize, Optimize::Balanced);
        assert_eq!(profile("development: true").optimize, Optimize::Speed);
        assert_eq!(
            profile("development: true\noptimize: size").optimize,
            Optimize::Size
        );
        for word in [Optimize::Speed, Optimize::Balanced, Optimize::Size] {
            let name = serde_json::to_value(word).unwrap();
            let plain = profile(&format!("optimize: {}", name.as_str().unwrap()));
            assert_eq!(plain.root.compression, word.compression(Codec::Zstd));
        }
        let own = profile("optimize: size\nroot: {compression: {level: 5}}");
        assert_eq!(
            own.root.compression,
            Compression {
                level: 5,
                ..Optimize::Size.compression(Codec::Zstd)
            }
        );
        for codec in ["none", "lz4hc"] {
            for word in ["speed", "balanced", "size"] {
                profile(&format!(
                    "optimize: {word}\nroot: {{compression: {{codec: {codec}}}}}"
                ));
            }
        }
    }
}
