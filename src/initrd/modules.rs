//! The initrd's modules: plain `.ko` files, since the whole archive is compressed, with indices of
//! their own.

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::groups::{self, Group, Part};
use super::pack::Packing;
use super::{InitrdInput, OWN};
use crate::failure::{Failure, Kind as FailureKind};
use crate::kernel::modules::directory;
use crate::kernel::{Closure, decompress, depmod, plain_path};
use crate::store::{key_of, remember};
use crate::tree::{Content, Kind, Meta, Node, Origin, Tree, TreePath};

/// The modules, packed, and what became of the names that were asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packed {
    pub(super) group: Group,
    pub(super) closure: Closure,
}

/// Packs the closure of the wanted modules, and says which are loaded first. All of it follows from
/// the kernel's modules and from the lists of names.
pub(super) fn packed(
    input: &InitrdInput<'_>,
    contents: &Contents,
    packing: Packing,
) -> Result<Packed> {
    let names = postcard::to_stdvec(&[
        &contents.load_modules,
        &contents.load_modules_if_present,
        input.wanted_modules,
    ])?;
    let key = key_of(&[input.modules.key().as_bytes(), &names]);
    let key = groups::keyed(&key, packing);
    remember(input.memo, "initrd-modules-1", &key, || {
        let mut tree = Tree::new();
        let closure = add(&mut tree, input, contents)?;
        let group = groups::pack(Part::Modules, &tree, packing)?;
        Ok(Packed { group, closure })
    })
}

/// Puts the closure of the wanted modules into `tree`, and says which are loaded first.
fn add(tree: &mut Tree, input: &InitrdInput<'_>, contents: &Contents) -> Result<Closure> {
    let index = input.modules.index(input.tree, input.memo)?;
    let always = &contents.load_modules;
    if let Some(missing) = index.closure(always).missing.first() {
        return Err(Failure::new(
            FailureKind::Audit,
            format!(
                "kernel {} has no `{}`, neither as a module nor built in",
                index.version(),
                missing.name
            ),
        )
        .hint("every image needs it to reach /usr; choose another kernel.package")
        .into());
    }
    // systemd-modules-load fails where a name that it is given is not there.
    let present: Vec<&String> = contents
        .load_modules_if_present
        .iter()
        .filter(|name| {
            let found = index.closure(&[name]);
            !found.modules.is_empty() && found.missing.is_empty()
        })
        .collect();
    let load: String = always
        .iter()
        .chain(present.iter().copied())
        .map(|name| format!("{name}\n"))
        .collect();
    tree.insert(
        TreePath::parse("usr/lib/modules-load.d/hullwright.conf")?,
        file(load.as_str().into()),
    );
    let wanted: Vec<&String> = always
        .iter()
        .chain(present)
        .chain(input.wanted_modules)
        .collect();
    let mut closure = index.closure(&wanted);
    let dir = directory(index.version())?;
    let files: Vec<(TreePath, Vec<u8>)> = closure
        .modules
        .par_iter()
        .map(|path| {
            let bytes = image_file(input.tree, &dir.join(path)?)?.read()?;
            let plain = decompress(path, &bytes)?.into_owned();
            Ok((dir.join(plain_path(path))?, plain))
        })
        .collect::<Result<_>>()?;
    for (path, bytes) in files {
        tree.insert(path, file(bytes.into()));
    }
    // At run time kmod reads the binary indices and, as text, soft and weak dependencies;
    // kmod-static-nodes.service reads modules.devname.
    let own = index.subset(&closure.modules)?;
    depmod::insert(&own, tree, |name| {
        let text = ["modules.devname", "modules.softdep", "modules.weakdep"];
        name.ends_with("bin") || text.contains(&name)
    })?;
    for name in ["modules.order", "modules.builtin"] {
        let path = dir.join(name)?;
        if let Some(node) = input.tree.get(&path) {
            tree.insert(path, node.clone());
        }
    }
    closure.modules = own
        .modules()
        .iter()
        .map(|module| module.name.clone())
        .collect();
    closure.modules.sort_unstable();
    closure.builtin.sort_unstable();
    closure.builtin.dedup();
    Ok(closure)
}

fn image_file<'a>(image: &'a Tree, path: &TreePath) -> Result<&'a Content> {
    image
        .resolve(path)
        .and_then(|path| image.get(&path)?.content())
        .with_context(|| format!("{path} has left the image since its modules were read"))
}

fn file(content: Content) -> Node {
    Node {
        meta: Meta::root(0o644),
        kind: Kind::File {
            content,
            link: None,
        },
        origin: Origin::Generated(OWN.into()),
    }
}
