//! Container images that the image carries: the unit that imports them on the node.
//!
//! The runtime keeps images in `/var`, in a form of its own, so an archive is imported once: a marker
//! named by the hashes of all archives says that this has been done. A version with other archives has
//! another marker, and one that is rolled back to finds its own.

use std::fmt::Write as _;

use anyhow::Result;

use super::edit::{Editor, exists};
use crate::digest::{Sha256, hex};
use crate::failure::{Failure, Kind};
use crate::profile::schema::ContainerArchive;
use crate::tree::Tree;

/// The unit, for those that start containers to wait for.
pub const UNIT: &str = "hullwright-containers.service";

/// Where the node keeps the markers.
const MARKERS: &str = "/var/lib/hullwright/containers";
const TMPFILES: &str = "usr/lib/hullwright/containers.conf";

/// What can import an archive.
struct Runtime {
    program: &'static str,
    /// Before the archive's path.
    arguments: &'static str,
    /// What has to run for it.
    service: Option<&'static str>,
}

/// The first one that the image has: docker.io has a containerd below it, whose images are not Docker's.
const RUNTIMES: &[Runtime] = &[
    Runtime {
        program: "usr/bin/docker",
        arguments: "load --quiet --input",
        service: Some("docker.service"),
    },
    Runtime {
        program: "usr/bin/podman",
        arguments: "load --quiet --input",
        service: None,
    },
    Runtime {
        program: "usr/bin/ctr",
        arguments: "images import",
        service: Some("containerd.service"),
    },
];

/// The path of an archive in the image.
#[must_use]
pub fn archive(sha256: &Sha256) -> String {
    format!("usr/share/hullwright/containers/{sha256}.tar")
}

/// Writes the unit; its name, to be enabled.
///
/// # Errors
/// Nothing in the image could import the archives.
pub fn write(tree: &mut Tree, containers: &[ContainerArchive]) -> Result<Vec<String>> {
    if containers.is_empty() {
        return Ok(Vec::new());
    }
    let Some(runtime) = RUNTIMES.iter().find(|r| exists(tree, r.program)) else {
        return Err(Failure::new(
            Kind::Usage,
            "the profile has `containers`, and nothing in the image could import them",
        )
        .hint("add `containerd`, `docker.io` and `docker-cli`, or `podman` to packages.include")
        .hint("or keep what `root.prune` takes away: /usr/bin/ctr, /usr/bin/docker or /usr/bin/podman")
        .into());
    };
    let marker = format!("{MARKERS}/{}", marker(runtime, containers));
    let mut edit = Editor::new(tree, "containers");
    edit.write(
        &format!("usr/lib/systemd/system/{UNIT}"),
        0o644,
        unit(runtime, containers, &marker)?.as_str(),
    )?;
    // What makes the marker is a program that every image has, also one without a shell.
    edit.write(
        TMPFILES,
        0o644,
        format!("f {marker} 0644 root root\n").as_str(),
    )?;
    Ok(vec![UNIT.to_owned()])
}

/// Short, and another one for other archives and for another runtime.
fn marker(runtime: &Runtime, containers: &[ContainerArchive]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(runtime.program.as_bytes());
    for container in containers {
        hash.update(&container.sha256.0);
    }
    let mut name = hex(hash.finalize().as_bytes());
    name.truncate(16);
    name
}

fn unit(runtime: &Runtime, containers: &[ContainerArchive], marker: &str) -> Result<String> {
    let mut text = format!(
        "[Unit]\n\
         Description=Import the container images of this version\n\
         ConditionPathExists=!{marker}\n\
         RequiresMountsFor={MARKERS}\n"
    );
    if let Some(service) = runtime.service {
        writeln!(text, "Requires={service}\nAfter={service}")?;
    }
    text.push_str("\n[Service]\nType=oneshot\nRemainAfterExit=yes\n");
    for container in containers {
        let archive = archive(&container.sha256);
        writeln!(
            text,
            "ExecStart=/{} {} /{archive}",
            runtime.program, runtime.arguments
        )?;
    }
    // Images of a power cut's other side of the marker are imported again, which changes nothing.
    writeln!(
        text,
        "ExecStart=/usr/bin/systemd-tmpfiles --create /{TMPFILES}\n\
         TimeoutStartSec=15min\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target"
    )?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreePath;

    fn containers(names: &[&str]) -> Vec<ContainerArchive> {
        names
            .iter()
            .map(|name| ContainerArchive {
                archive: name.into(),
                sha256: Sha256::of(name.as_bytes()),
            })
            .collect()
    }

    /// The unit in an image with `programs`.
    fn unit_with(programs: &[&str], names: &[&str]) -> Result<String> {
        let mut tree = Tree::new();
        let mut edit = Editor::new(&mut tree, "test");
        for program in programs {
            edit.write(program, 0o755, "x")?;
        }
        write(&mut tree, &containers(names))?;
        let path = TreePath::parse(format!("usr/lib/systemd/system/{UNIT}"))?;
        Ok(super::super::edit::text(&tree, &path)?.unwrap_or_default())
    }

    fn condition(unit: &str) -> String {
        let line = unit.lines().find(|line| line.starts_with("Condition"));
        line.unwrap_or_default().to_owned()
    }

    #[test]
    fn each_runtime_imports_in_its_way_and_docker_wins_over_the_containerd_below_it() {
        for (programs, expected, waits) in [
            (vec!["usr/bin/ctr"], "/usr/bin/ctr images import /usr", true),
            (
                vec!["usr/bin/podman"],
                "/usr/bin/podman load --quiet --input /usr",
                false,
            ),
            (
                vec!["usr/bin/ctr", "usr/bin/docker"],
                "/usr/bin/docker load --quiet --input /usr",
                true,
            ),
        ] {
            let unit = unit_with(&programs, &["a", "b"]).unwrap();
            let starts: Vec<_> = unit
                .lines()
                .filter(|l| l.starts_with("ExecStart="))
                .collect();
            assert_eq!(starts.len(), 3, "{unit}");
            for (line, name) in starts.iter().zip(["a", "b"]) {
                assert!(line.contains(expected), "{unit}");
                assert!(
                    line.ends_with(&archive(&Sha256::of(name.as_bytes()))),
                    "{unit}"
                );
            }
            assert_eq!(unit.contains("\nRequires="), waits, "{unit}");
        }
    }

    #[test]
    fn other_archives_and_another_runtime_have_another_marker() {
        let one = condition(&unit_with(&["usr/bin/ctr"], &["a"]).unwrap());
        assert!(one.contains(MARKERS), "{one}");
        for (program, names) in [
            ("usr/bin/ctr", vec!["b"]),
            ("usr/bin/ctr", vec!["a", "b"]),
            ("usr/bin/podman", vec!["a"]),
        ] {
            assert_ne!(condition(&unit_with(&[program], &names).unwrap()), one);
        }
    }

    #[test]
    fn an_image_without_containers_has_no_unit_and_one_without_a_runtime_is_refused() {
        assert_eq!(unit_with(&[], &[]).unwrap(), "");
        let error = unit_with(&["usr/bin/runc"], &["a"]).unwrap_err();
        assert!(
            error.to_string().contains("nothing in the image"),
            "{error:#}"
        );
    }
}
