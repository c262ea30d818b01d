//! An OCI image of Debian's static busybox, packed here, and what the guest does with it.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::support::trixie;

/// Reads the image from stdin, imports it and runs it.
pub const SCRIPT: &str = r#"
cat > /run/image.tar
ctr image import /run/image.tar >/dev/null
ctr run --rm localhost/busybox:test c1 /bin/sh -c 'echo HELLO-FROM-CONTAINER; id -u'
"#;

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Debian's busybox-static for `arch`, from the judges' tree.
fn busybox(arch: &str) -> Vec<u8> {
    let path = trixie().join(match arch {
        "amd64" => "usr/bin/busybox".to_owned(),
        _ => format!("{arch}/usr/bin/busybox"),
    });
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// The image as an OCI layout in a tar (image-spec, `image-layout.md`), for `arch` as Debian and OCI
/// call it, with the `manifest.json` that `docker load` wants.
pub fn oci_image(arch: &str) -> Vec<u8> {
    let busybox = busybox(arch);
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
        let mut head = header(tar::EntryType::Directory, 0);
        layer.append_data(&mut head, dir, &[][..]).unwrap();
    }
    let mut head = header(tar::EntryType::Regular, busybox.len() as u64);
    layer
        .append_data(&mut head, "bin/busybox", &busybox[..])
        .unwrap();
    for applet in ["sh", "id", "echo", "sleep", "wget", "httpd"] {
        let mut head = header(tar::EntryType::Symlink, 0);
        layer
            .append_link(&mut head, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let config = serde_json::json!({
        "architecture": arch, "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    })
    .to_string()
    .into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest(&layer), "size": layer.len()}],
    })
    .to_string()
    .into_bytes();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": "localhost/busybox:test",
                            "org.opencontainers.image.ref.name": "test"}}],
    })
    .to_string()
    .into_bytes();
    let mut image = tar::Builder::new(Vec::new());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut head = header(tar::EntryType::Regular, bytes.len() as u64);
        image.append_data(&mut head, name, bytes).unwrap();
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    put("index.json", &index);
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", &digest(bytes)[7..]);
    let docker = serde_json::json!([{
        "Config": blob(&config), "RepoTags": ["localhost/busybox:test"], "Layers": [blob(&layer)],
    }]);
    put("manifest.json", docker.to_string().as_bytes());
    for blob in [&layer, &config, &manifest] {
        put(&format!("blobs/sha256/{}", &digest(blob)[7..]), blob);
    }
    image.into_inner().unwrap()
}
