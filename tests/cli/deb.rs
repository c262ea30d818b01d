//! A writer of `.deb` files, which also makes those that no honest tool would.

use std::io::Write as _;

/// A package to be.
#[derive(Clone)]
pub struct Deb {
    pub name: &'static str,
    pub version: &'static str,
    /// amd64, unless told otherwise.
    pub architecture: &'static str,
    /// More lines for its control file.
    pub fields: &'static str,
    /// Members of `data.tar`: name, declared size (or that of the content), content.
    pub items: Vec<(String, Option<u64>, Vec<u8>)>,
}

/// A package with one file that tells its name and version.
pub fn deb(name: &'static str, version: &'static str, fields: &'static str) -> Deb {
    let content = format!("{name} {version}\n").into_bytes();
    Deb {
        name,
        version,
        architecture: "amd64",
        fields,
        items: vec![(format!("./usr/share/doc/{name}"), None, content)],
    }
}

impl Deb {
    pub fn with(mut self, name: &str, declared: Option<u64>, content: &[u8]) -> Self {
        self.items.push((name.into(), declared, content.to_vec()));
        self
    }

    /// For `architecture` instead.
    pub fn of(mut self, architecture: &'static str) -> Self {
        self.architecture = architecture;
        self
    }

    pub fn control(&self) -> String {
        let Self {
            name,
            version,
            architecture,
            fields,
            ..
        } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: T <t@example.org>\n\
             Description: test\n{fields}"
        )
    }

    /// Below the archive's base.
    pub fn path(&self) -> String {
        let Self {
            name,
            version,
            architecture,
            ..
        } = self;
        format!("pool/main/{name}_{version}_{architecture}.deb")
    }

    pub fn bytes(&self) -> Vec<u8> {
        let control = tar(&[("./control".into(), None, self.control().into_bytes())]);
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&control)),
            ("data.tar.gz", gzip(&tar(&self.items))),
        ];
        let mut out = b"!<arch>\n".to_vec();
        for (name, data) in members {
            let size = data.len();
            let head = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                0, 0, 0, 100_644
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&data);
            out.extend(std::iter::repeat_n(b'\n', size % 2));
        }
        out
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn tar(items: &[(String, Option<u64>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, declared, content) in items {
        let mut header = tar::Header::new_gnu();
        // The crate's own setter refuses `..` and absolute paths.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(declared.unwrap_or(content.len() as u64));
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
