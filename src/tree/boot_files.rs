//! Takes out of the tree what boots the machine and does not belong into `/usr`: kernel, UKI stub,
//! boot loader.

use std::collections::BTreeMap;

use super::prune::settle_links;
use super::{Content, Kind, Origin, Tree, TreePath};
use crate::arch::Arch;
use crate::failure::{Failure, Kind as FailureKind};
use crate::uki::Pe;

/// What the UKI and the EFI system partition are made of.
#[derive(Debug, Clone)]
pub struct BootFiles {
    /// Version of the kernel, as `uname -r` prints it.
    pub kernel_version: String,
    /// The kernel image.
    pub vmlinuz: Content,
    /// Its configuration.
    pub config: Option<Content>,
    /// systemd's UKI stub.
    pub stub: Content,
    /// systemd-boot, unsigned.
    pub systemd_boot: Content,
    /// systemd-boot as the distribution has signed it, if it ships it.
    pub systemd_boot_signed: Option<Content>,
    /// What the kernel's package ships for boards, by its path below `usr/lib/linux-image-VERSION`.
    pub devicetrees: BTreeMap<String, Content>,
}

const EFI_DIR: &str = "usr/lib/systemd/boot/efi";

fn is_pe_name(name: &[u8]) -> bool {
    [&b".efi"[..], b".efi.stub", b".efi.signed"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The regular files below `dir`, by their paths from there.
fn devicetrees(tree: &Tree, dir: &TreePath) -> BTreeMap<String, Content> {
    tree.below(dir)
        .filter_map(|(path, node)| {
            let below = path.strip_prefix(dir)?.to_string();
            let name = below.trim_start_matches('/').to_owned();
            Some((name, node.content()?.clone()))
        })
        .collect()
}

fn file(tree: &Tree, path: &str) -> anyhow::Result<Option<Content>> {
    let path = TreePath::parse(path)?;
    Ok(tree.get(&path).and_then(|node| node.content().cloned()))
}

fn needed(tree: &Tree, path: &str, package: &str) -> anyhow::Result<Content> {
    file(tree, path)?.ok_or_else(|| {
        Failure::new(
            FailureKind::Usage,
            format!("no package ships /{path}, which every image boots with"),
        )
        .hint(format!("add `{package}` to packages.include"))
        .into()
    })
}

/// Takes kernel, stub and boot loader out of `tree`. Every PE file of systemd's folder goes, taken
/// or not: what UEFI can run lies on the EFI system partition only.
///
/// # Errors
/// No kernel or several, a kernel without its modules, no stub, no boot loader.
pub fn take(tree: &mut Tree, arch: Arch) -> anyhow::Result<BootFiles> {
    let (kernel_version, vmlinuz) = kernel(tree)?;
    let modules = TreePath::parse(format!("usr/lib/modules/{kernel_version}"))?;
    if !tree.get(&modules).is_some_and(super::Node::is_dir) {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("kernel {kernel_version} has no modules: {modules} is not there"),
        )
        .hint("check that packages.exclude and root.prune leave them in")
        .into());
    }
    let kernel_dir = TreePath::parse(format!("usr/lib/linux-image-{kernel_version}"))?;
    let suffix = arch.traits().efi_suffix;
    let loader = format!("{EFI_DIR}/systemd-boot{suffix}.efi");
    let files = BootFiles {
        config: file(tree, &format!("boot/config-{kernel_version}"))?,
        devicetrees: devicetrees(tree, &kernel_dir),
        kernel_version,
        vmlinuz,
        stub: needed(
            tree,
            &format!("{EFI_DIR}/linux{suffix}.efi.stub"),
            "systemd-boot-efi",
        )?,
        systemd_boot: needed(tree, &loader, "systemd-boot-efi")?,
        systemd_boot_signed: file(tree, &format!("{loader}.signed"))?,
    };

    let boot = TreePath::parse("boot")?;
    let efi = TreePath::parse(EFI_DIR)?;
    let mut doomed: Vec<TreePath> = tree
        .children(&boot)
        .filter(|(path, _)| {
            [&b"vmlinuz-"[..], b"config-", b"System.map-"]
                .iter()
                .any(|start| path.name().starts_with(start))
        })
        .map(|(path, _)| path.clone())
        .collect();
    // Device trees: nothing reads them below /usr, and the kernel's are 15 MB.
    doomed.extend(tree.below(&kernel_dir).map(|(path, _)| path.clone()));
    doomed.push(kernel_dir);
    doomed.extend(
        tree.below(&efi)
            .filter(|(path, node)| !node.is_dir() && is_pe_name(path.name()))
            .map(|(path, _)| path.clone()),
    );
    for path in doomed {
        tree.remove(&path);
    }
    // systemd's folder is for these files only.
    let mut at = Some(efi);
    while let Some(dir) = at.filter(|dir| dir.components().count() > 3) {
        if tree.get(&dir).is_none() || tree.children(&dir).next().is_some() {
            break;
        }
        tree.remove(&dir);
        at = dir.parent();
    }
    settle_links(tree);
    Ok(files)
}

/// Refuses EFI programs below `/usr` that carry a signature, by the names that packages give them.
/// What firmware would start lies on the ESP, where the image's own keys sign it and `dbx` can revoke
/// it; a program that others have signed would wait in every image for somebody to copy it there.
///
/// # Errors
/// There is one.
pub fn refuse_signed(tree: &Tree) -> anyhow::Result<()> {
    for (path, node) in tree.below(&TreePath::parse("usr")?) {
        let Some(content) = node.content().filter(|_| is_program_name(path.name())) else {
            continue;
        };
        let bytes = content.read()?;
        if !Pe::parse(&bytes).is_ok_and(|pe| pe.certificates().is_some()) {
            continue;
        }
        let (Origin::Package(from) | Origin::Overlay(from) | Origin::Generated(from)) =
            &node.origin;
        return Err(Failure::new(
            FailureKind::Audit,
            format!("/{path} of {from} is a signed EFI program, which belongs on the ESP alone"),
        )
        .hint(format!("leave it out: add \"/{path}\" to root.prune"))
        .into());
    }
    Ok(())
}

fn is_program_name(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with(b"vmlinuz") || name.ends_with(b".efi") || is_pe_name(&name) || {
        // `shimx64.efi.dualsigned`, `grubx64.efi.gz.signed` and what else there may be.
        name.windows(5).any(|part| part == b".efi.")
    }
}

fn kernel(tree: &Tree) -> anyhow::Result<(String, Content)> {
    let boot = TreePath::parse("boot")?;
    let mut found = Vec::new();
    for (path, node) in tree.children(&boot) {
        let Some(version) = path.name().strip_prefix(b"vmlinuz-") else {
            continue;
        };
        let Kind::File { content, .. } = &node.kind else {
            continue;
        };
        let (Origin::Package(from) | Origin::Overlay(from) | Origin::Generated(from)) =
            &node.origin;
        let version = String::from_utf8_lossy(version).into_owned();
        found.push((version, content.clone(), format!("{path} of {from}")));
    }
    match found.len() {
        1 => {}
        0 => {
            return Err(Failure::new(
                FailureKind::Usage,
                "no package ships a kernel: there is no /boot/vmlinuz-*",
            )
            .hint("name a kernel package in kernel.package")
            .into());
        }
        count => {
            let list: Vec<_> = found.iter().map(|(_, _, shown)| shown.as_str()).collect();
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "an image boots exactly one kernel, but there are {count}: {}",
                    list.join(", ")
                ),
            )
            .hint("exclude all but one of the packages")
            .into());
        }
    }
    found
        .into_iter()
        .next()
        .map(|(version, content, _)| (version, content))
        .ok_or_else(|| anyhow::anyhow!("no kernel"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node};

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            tree.insert(
                TreePath::parse(path).unwrap(),
                Node {
                    meta: Meta::root(0o644),
                    kind: Kind::File {
                        content: (*path).into(),
                        link: None,
                    },
                    origin: Origin::Package("linux".into()),
                },
            );
        }
        tree
    }

    const ALL: [&str; 9] = [
        "boot/vmlinuz-6.12",
        "boot/config-6.12",
        "boot/System.map-6.12",
        "usr/lib/modules/6.12/kernel/x.ko",
        "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        "usr/lib/systemd/boot/efi/addonaa64.efi.stub",
        "usr/lib/systemd/boot/efi/systemd-bootaa64.efi",
        "usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed",
        "usr/lib/systemd/systemd",
    ];

    #[test]
    fn what_boots_is_taken_and_nothing_else() {
        let mut tree = tree(&ALL);
        let files = take(&mut tree, Arch::Arm64).unwrap();
        assert_eq!(files.kernel_version, "6.12");
        assert_eq!(&*files.vmlinuz.read().unwrap(), ALL[0].as_bytes());
        assert_eq!(&*files.config.unwrap().read().unwrap(), ALL[1].as_bytes());
        assert_eq!(&*files.stub.read().unwrap(), ALL[4].as_bytes());
        assert_eq!(&*files.systemd_boot.read().unwrap(), ALL[6].as_bytes());
        assert!(files.systemd_boot_signed.is_some());
        let left: Vec<_> = tree.iter().map(|(p, _)| p.to_string()).collect();
        assert_eq!(
            left,
            [
                "/",
                "/boot",
                "/usr",
                "/usr/lib",
                "/usr/lib/modules",
                "/usr/lib/modules/6.12",
                "/usr/lib/modules/6.12/kernel",
                "/usr/lib/modules/6.12/kernel/x.ko",
                "/usr/lib/systemd",
                "/usr/lib/systemd/systemd",
            ]
        );
    }

    #[test]
    fn what_is_missing_or_ambiguous_is_named() {
        let without = |n: usize| {
            let mut list = ALL.to_vec();
            list.remove(n);
            list
        };
        let mut two = ALL.to_vec();
        two.push("boot/vmlinuz-6.13");
        for (paths, wanted) in [
            (without(0), "there is no /boot/vmlinuz-*"),
            (without(3), "/usr/lib/modules/6.12 is not there"),
            (without(4), "linuxaa64.efi.stub"),
            (without(6), "systemd-bootaa64.efi"),
            (
                two,
                "/boot/vmlinuz-6.12 of linux, /boot/vmlinuz-6.13 of linux",
            ),
        ] {
            let mut tree = tree(&paths);
            let before = tree.len();
            let error = take(&mut tree, Arch::Arm64).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert_eq!(tree.len(), before);
        }
    }
    #[test]
    fn a_signed_program_in_usr_is_refused_with_the_line_that_mends_it() {
        use crate::sign::{authenticode, keys::tests::development_keys};
        use crate::uki::addon::{Addon, build};

        let unsigned = build(&Addon {
            arch: Arch::X86_64,
            cmdline: "quiet",
            uname: None,
        });
        let signed = authenticode::sign(unsigned.clone(), development_keys()).unwrap();
        for (path, bytes, good) in [
            ("usr/lib/shim/shimx64.efi.signed", &signed, false),
            ("usr/lib/x/vmlinuz", &signed, false),
            ("usr/share/A.EFI", &signed, false),
            ("usr/lib/shim/shimx64.efi.dualsigned", &signed, false),
            ("usr/lib/x/unsigned.efi", &unsigned, true),
            ("boot/x.efi", &signed, true),
        ] {
            let mut tree = tree(&ALL);
            tree.insert(
                TreePath::parse(path).unwrap(),
                Node {
                    meta: Meta::root(0o644),
                    kind: Kind::File {
                        content: bytes.clone().into(),
                        link: None,
                    },
                    origin: Origin::Package("shim-signed".into()),
                },
            );
            match refuse_signed(&tree) {
                Ok(()) => assert!(good, "{path}"),
                Err(error) => {
                    assert!(!good, "{path}");
                    let text = error.to_string();
                    assert!(
                        text.contains(path) && text.contains("shim-signed"),
                        "{text}"
                    );
                }
            }
        }
    }
}
