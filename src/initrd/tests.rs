use std::collections::BTreeMap;

use super::*;
use crate::failure::{Kind as FailureKind, kind_of};
use crate::kernel::{ModuleIndex, Sources};
use crate::store::Forgetful;
use crate::tree::{Kind, Meta, Node, Origin, TreePath};

/// An image that has everything that the list demands, none of it a real program.
fn image() -> Tree {
    let mut tree = Tree::new();
    for path in Contents::shipped().unwrap().demanded() {
        let content = format!("this is {path}").as_str().into();
        let node = Node {
            meta: Meta::root(0o755),
            kind: Kind::File {
                content,
                link: None,
            },
            origin: Origin::Package("all".into()),
        };
        tree.insert(TreePath::parse(path).unwrap(), node);
    }
    tree
}

fn kernel(builtin: &str) -> ModuleIndex {
    let sources = Sources {
        builtin: builtin.into(),
        ..Sources::default()
    };
    ModuleIndex::new("6.12.1", Vec::new(), sources).unwrap()
}

const BUILTIN: &str = "kernel/overlay.ko\nkernel/erofs.ko\nkernel/dm-verity.ko\nkernel/nvme.ko\n";

fn built(tree: &Tree, modules: &ModuleIndex, development: bool) -> Result<Initrd> {
    build(&InitrdInput {
        tree,
        arch: Arch::X86_64,
        modules: &modules.clone().into(),
        wanted_modules: &["nvme".to_owned(), "virtio_blk".to_owned()],
        development,
        stamp: Stamp::from_seconds(1_700_000_000),
        level: 1,
        memo: &Forgetful,
    })
}

fn contents_of(initrd: &Initrd) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut out = BTreeMap::new();
    list(&initrd.bytes, |entry| {
        assert_eq!(entry.header.mtime, 1_700_000_000);
        let name = String::from_utf8(entry.name.to_vec())?;
        out.insert(name, (entry.header.mode, entry.data.to_vec()));
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn systemd_recognises_the_archive_as_an_initrd() {
    let initrd = built(&image(), &kernel(BUILTIN), false).unwrap();
    let contents = contents_of(&initrd);
    let text = |path: &str| String::from_utf8(contents[path].1.clone()).unwrap();
    assert_eq!(text("init"), "usr/lib/systemd/systemd");
    assert_eq!(text("etc/initrd-release"), "os-release");
    assert_eq!(text("etc/machine-id"), "");
    assert_eq!(text("etc/passwd"), "this is usr/share/factory/etc/passwd");
    assert_eq!(
        text("usr/lib/systemd/system/default.target"),
        "initrd.target"
    );
    assert_eq!(
        text("usr/lib/systemd/system/initrd-fs.target.requires/sysroot-etc.mount"),
        "../sysroot-etc.mount"
    );
    assert_eq!(
        text("usr/lib/modules-load.d/hullwright.conf"),
        "overlay\nerofs\ndm_verity\n"
    );
    assert_eq!(contents["tmp"].0, 0o041_777);
    assert_eq!(contents["etc/shadow"].0, 0o100_600);
    assert_eq!(contents.len(), initrd.files.len());
}

#[test]
fn a_failed_boot_reboots_instead_of_asking() {
    let contents = contents_of(&built(&image(), &kernel(BUILTIN), false).unwrap());
    let unit = |name: &str| {
        let path = format!("usr/lib/systemd/system/{name}");
        String::from_utf8(contents[&path].1.clone()).unwrap()
    };
    assert!(unit("emergency.service").contains("--force reboot"));
    assert!(unit("emergency.target").contains("Requires=emergency.service"));
    let drop_in = unit("systemd-veritysetup@usr.service.d/10-hullwright.conf");
    assert!(drop_in.contains("OnFailure=emergency.target"));
}

#[test]
fn boots_are_counted_before_usr_is_read_by_a_shell_that_is_nowhere_else() {
    let initrd = built(&image(), &kernel(BUILTIN), false).unwrap();
    let contents = contents_of(&initrd);
    let text = |path: &str| String::from_utf8(contents[path].1.clone()).unwrap();
    assert_eq!(text("usr/lib/hullwright/sh"), "this is usr/bin/dash");
    for path in ["usr/bin/sh", "usr/bin/dash", "bin/sh", "usr/bin/bash"] {
        assert!(!contents.contains_key(path), "{path}");
    }
    let unit = text("usr/lib/systemd/system/hullwright-boot-count.service");
    for line in [
        "Before=systemd-veritysetup@usr.service sysusr-usr.mount initrd-switch-root.target",
        "ExecStart=/usr/lib/hullwright/sh /usr/lib/hullwright/boot-count",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line} in\n{unit}");
    }
    for pulled in [
        "hullwright-boot-count.service",
        "hullwright-initrd-deadline.timer",
    ] {
        let link = format!("usr/lib/systemd/system/initrd.target.wants/{pulled}");
        assert_eq!(text(&link), format!("../{pulled}"));
    }
    let manager = text("usr/lib/systemd/system.conf.d/10-hullwright.conf");
    assert!(manager.contains("RuntimeWatchdogSec=90s"), "{manager}");
}

#[test]
fn efi_pstore_is_loaded_where_the_kernel_has_it_as_a_module() {
    let module = crate::kernel::Module {
        path: "kernel/efi-pstore.ko".into(),
        name: "efi_pstore".into(),
        ..crate::kernel::Module::default()
    };
    let with = |modules, builtin: &str| {
        let sources = Sources {
            builtin: builtin.into(),
            ..Sources::default()
        };
        ModuleIndex::new("6.12.1", modules, sources).unwrap()
    };
    let mut tree = image();
    tree.insert(
        TreePath::parse("usr/lib/modules/6.12.1/kernel/efi-pstore.ko").unwrap(),
        Node {
            meta: Meta::root(0o644),
            kind: Kind::File {
                content: "module".into(),
                link: None,
            },
            origin: Origin::Package("kernel".into()),
        },
    );
    let builtin = format!("{BUILTIN}kernel/efi-pstore.ko\n");
    for (modules, loaded) in [
        (with(vec![module], BUILTIN), "efi_pstore\n"),
        (with(Vec::new(), &builtin), ""),
        (with(Vec::new(), BUILTIN), ""),
    ] {
        let contents = contents_of(&built(&tree, &modules, false).unwrap());
        let list = &contents["usr/lib/modules-load.d/hullwright.conf"].1;
        let wanted = format!("overlay\nerofs\ndm_verity\n{loaded}");
        assert_eq!(String::from_utf8_lossy(list), wanted);
    }
}

#[test]
fn only_development_images_take_units_from_the_hypervisor() {
    let path = "usr/lib/systemd/system-generators/systemd-debug-generator";
    for development in [false, true] {
        let initrd = built(&image(), &kernel(BUILTIN), development).unwrap();
        assert_eq!(contents_of(&initrd).contains_key(path), development);
    }
}

#[test]
fn modules_that_this_kernel_does_not_have_are_reported() {
    let initrd = built(&image(), &kernel(BUILTIN), false).unwrap();
    assert_eq!(initrd.builtin, ["dm_verity", "erofs", "nvme", "overlay"]);
    assert_eq!(initrd.missing[0].name, "virtio_blk");
}

#[test]
fn a_kernel_that_cannot_reach_usr_is_an_error() {
    let error = built(&image(), &kernel("kernel/overlay.ko\n"), false).unwrap_err();
    assert_eq!(kind_of(&error), FailureKind::Audit);
    assert!(format!("{error:#}").contains("`erofs`"), "{error:#}");
}

#[test]
fn a_program_that_the_image_lacks_is_an_error_that_names_it() {
    let mut tree = image();
    tree.remove(&TreePath::parse("usr/bin/systemd-repart").unwrap());
    let error = built(&tree, &kernel(BUILTIN), false).unwrap_err();
    assert_eq!(kind_of(&error), FailureKind::Audit);
    assert!(
        format!("{error:#}").contains("/usr/bin/systemd-repart"),
        "{error:#}"
    );
}
