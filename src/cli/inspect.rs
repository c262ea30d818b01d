//! `hullwright inspect`: look into an image without root.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Context, output};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};
use crate::inspect::{
    self, EspVolume, InitrdVolume, Listed, NodeKind, Place, Subject, SystemVolume, Volume,
};
use crate::uki::Pe;

/// Look into an image: partitions, boot entries, UKI sections, files of /usr.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright inspect out/qemu-x86_64-1.0.0               what it is made of\n  \
    hullwright inspect disk.raw ls /usr/lib/systemd        files of the running system\n  \
    hullwright inspect disk.raw cat /etc/os-release        content of one\n  \
    hullwright inspect disk.raw ls esp:/EFI/Linux          files of the boot partition\n  \
    hullwright inspect image.efi ls -r initrd:/            files of the initrd in a UKI\n  \
    hullwright inspect disk.raw verify                     check hashes and signatures")]
pub struct Inspect {
    /// The output folder of a build, a disk.raw, a usr.erofs or an .efi.
    image: PathBuf,
    /// Look into this slot of a disk instead of the first that is filled.
    #[arg(long, value_name = "SLOT", value_parser = ["a", "b"])]
    slot: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List a folder: /usr/…, /etc/…, esp:/…, initrd:/….
    Ls {
        /// The folder.
        #[arg(default_value = "/")]
        path: Place,
        /// With everything below it.
        #[arg(short, long)]
        recursive: bool,
    },
    /// Write a file to stdout.
    Cat {
        /// The file.
        path: Place,
    },
    /// Check /usr against its hash tree and the UKI's root hash, and every signature.
    Verify {
        /// Trust this root hash instead of the UKI's.
        #[arg(long, value_name = "HEX")]
        root_hash: Option<Sha256>,
    },
}

impl Inspect {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let subject = Subject::open(&self.image)?;
        match &self.what {
            None => {
                let facts = inspect::facts(&subject)?;
                if context.json {
                    output::event("result", serde_json::to_value(&facts)?);
                } else {
                    output::line_out(facts.to_string().trim_end());
                }
            }
            Some(What::Ls { path, recursive }) => {
                let (mut volume, path) = self.volume(&subject, path)?;
                let list = inspect::list(volume.as_mut(), path, *recursive)?;
                show(&list, *recursive, context);
            }
            Some(What::Cat { path }) => {
                if context.json {
                    return Err(Failure::new(
                        Kind::Usage,
                        "`cat` writes the file's bytes to stdout, which --json keeps for JSON",
                    )
                    .hint("leave --json away")
                    .into());
                }
                let (mut volume, path) = self.volume(&subject, path)?;
                return cat(volume.as_mut(), path);
            }
            Some(What::Verify { root_hash }) => return verify(&subject, *root_hash, context),
        }
        Ok(0)
    }

    fn volume<'p>(
        &self,
        subject: &Subject,
        place: &'p Place,
    ) -> Result<(Box<dyn Volume>, &'p crate::tree::TreePath)> {
        let slot = self.slot.as_deref();
        Ok(match place {
            Place::System(path) => {
                let part = subject.slot(slot)?.usr.try_clone()?;
                (Box::new(SystemVolume::open(part)?), path)
            }
            Place::Esp(path) => (Box::new(EspVolume(subject.expect_esp()?)), path),
            Place::Initrd(path) => {
                let uki = subject.uki(slot)?;
                let pe = Pe::parse(&uki.data).with_context(|| format!("reading {}", uki.place))?;
                let initrd = pe.section(".initrd").ok_or_else(|| {
                    Failure::new(Kind::Usage, format!("{} has no initrd", uki.place))
                })?;
                (Box::new(InitrdVolume::open(initrd)?), path)
            }
        })
    }
}

fn cat(volume: &mut dyn Volume, path: &crate::tree::TreePath) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let result = inspect::copy(volume, path, &mut out).and_then(|()| Ok(out.flush()?));
    // A reader that has seen enough is no error: `cat … | head`.
    let closed = |error: &anyhow::Error| {
        error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        })
    };
    match result {
        Err(error) if !closed(&error) => Err(error),
        _ => Ok(0),
    }
}

fn verify(subject: &Subject, root_hash: Option<Sha256>, context: Context) -> Result<u8> {
    let checked = inspect::check(subject, root_hash)?;
    let bad: Vec<String> = checked
        .iter()
        .filter_map(|item| Some(format!("{}: {}", item.what, item.problem.as_ref()?)))
        .collect();
    if !context.json && !context.quiet {
        for item in checked.iter().filter(|item| item.problem.is_none()) {
            output::line_out(&format!("good  {}", item.what));
        }
    }
    if bad.is_empty() {
        if context.json {
            output::event("result", json!({"checked": checked}));
        }
        return Ok(0);
    }
    Err(Failure::new(Kind::Archive, bad.join("; ")).into())
}

/// `ls -l` without times: every file of an image has the same.
fn show(list: &[Listed], recursive: bool, context: Context) {
    if context.json {
        let entries: Vec<Value> = list
            .iter()
            .map(|Listed { path, node }| {
                json!({
                    "path": path.to_string(),
                    "kind": node.kind,
                    "mode": format!("{:04o}", node.mode),
                    "uid": node.uid,
                    "gid": node.gid,
                    "size": node.size,
                    "target": node.target.as_ref().map(|t| String::from_utf8_lossy(t)),
                })
            })
            .collect();
        return output::event("result", json!({"entries": entries}));
    }
    for Listed { path, node } in list {
        let name = if recursive {
            path.to_string()
        } else {
            String::from_utf8_lossy(path.name()).into_owned()
        };
        let arrow = node.target.as_ref().map_or_else(String::new, |target| {
            format!(" -> {}", String::from_utf8_lossy(target))
        });
        output::line_out(&format!(
            "{} {:>5} {:>5} {:>10} {}{}",
            permissions(node.kind, node.mode),
            node.uid,
            node.gid,
            node.size,
            escape(&name),
            escape(&arrow),
        ));
    }
}

/// A name from an image must not speak to the terminal.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn permissions(kind: NodeKind, mode: u16) -> String {
    let kind = match kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Special => '?',
    };
    let bits = [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')];
    let mut out = String::from(kind);
    for (shift, special, letter) in bits {
        let triple = mode >> shift & 7;
        out.push(if triple & 4 != 0 { 'r' } else { '-' });
        out.push(if triple & 2 != 0 { 'w' } else { '-' });
        out.push(match (triple & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_written_as_ls_does() {
        for (kind, mode, text) in [
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::Dir, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o2640, "-rw-r-S---"),
            (NodeKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(permissions(kind, mode), text);
        }
    }

    #[test]
    fn names_do_not_reach_the_terminal_raw() {
        assert_eq!(escape("a\u{1b}[2Jä"), "a\\u{1b}[2Jä");
    }
}
