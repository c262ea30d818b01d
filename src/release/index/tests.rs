use super::*;

#[path = "schema.rs"]
mod schema;

/// A release with all files, named as they must be.
pub fn release(id: &str, version: &str, stamp: u64) -> Release {
    let root_hash = Sha256::of(format!("{id} {version}").as_bytes());
    let files = Role::ALL
        .into_iter()
        .map(|role| {
            let name = role.file_name(id, version, &root_hash);
            File {
                size: 1000,
                sha256: Sha256::of(name.as_bytes()),
                name,
                role,
            }
        })
        .collect();
    Release {
        version: version.into(),
        stamp,
        root_hash,
        layout: Layout {
            esp: 1 << 30,
            usr: 1536 << 20,
            verity: 32 << 20,
            signature: 1 << 20,
        },
        files,
        yanked: None,
    }
}

/// An index with two products, one of which has a yanked release.
pub fn index() -> Index {
    let mut index = Index::new("stable");
    index.serial = 7;
    for (id, versions) in [("web", &["1.0.0"][..]), ("os", &["0.9", "1.0~rc1", "1.0"])] {
        let product = index.product_mut(id, Arch::X86_64);
        for (number, version) in (1..).zip(versions) {
            product
                .releases
                .push(release(id, version, 1_800_000_000 + number));
        }
        product.current = product.newest_offered().map(str::to_owned);
    }
    let product = index.product_mut("os", Arch::X86_64);
    product.releases[2].yanked = Some("it lost the keys".into());
    product.current = Some("1.0~rc1".into());
    index
}

#[test]
fn an_index_reads_as_it_is_written() {
    let index = index();
    let text = index.to_text().unwrap();
    assert_eq!(Index::parse(text.as_bytes()).unwrap(), index);
    assert_eq!(index.products[0].id, "os");
    assert_eq!(index.stamp(), 1_800_000_003);
    assert!(Index::parse(Index::new("beta").to_text().unwrap().as_bytes()).is_ok());
}

#[test]
fn what_contradicts_itself_is_refused() {
    type Change = fn(&mut Index);
    let table: [(&str, Change); 17] = [
        ("has format 2", |i| i.index = 2),
        ("`channel`", |i| i.channel = "../etc".into()),
        ("`products` are not in order", |i| i.products.reverse()),
        ("`products` are not in order", |i| {
            let first = i.products[0].clone();
            i.products.insert(0, first);
        }),
        ("`id`", |i| i.products[0].id = "a/b".into()),
        ("`releases` are not in the order", |i| {
            i.products[0].releases.reverse();
        }),
        ("`releases` are not in the order", |i| {
            let first = i.products[0].releases[0].clone();
            i.products[0].releases.insert(0, first);
        }),
        ("`current`", |i| i.products[0].current = Some("1.0".into())),
        ("`current`", |i| i.products[0].current = None),
        ("`version`", |i| {
            i.products[1].releases[0].version = "../1".into();
        }),
        ("should be named", |i| {
            i.products[0].releases[0].files[3].name = "../../etc/passwd".into();
        }),
        ("should be named", |i| {
            i.products[0].releases[0].root_hash = Sha256([0; 32]);
        }),
        ("in the order of their roles", |i| {
            i.products[0].releases[0].files.swap(0, 1);
        }),
        ("is missing", |i| {
            i.products[0].releases[0].files.remove(0);
        }),
        ("bytes", |i| {
            i.products[0].releases[0].files[0].size = u64::MAX;
        }),
        ("one line", |i| {
            i.products[0].releases[2].yanked = Some("a\u{1b}[2J".into());
        }),
        ("one line", |i| {
            i.products[0].releases[2].yanked = Some(String::new());
        }),
    ];
    for (number, (message, change)) in table.into_iter().enumerate() {
        let mut index = index();
        change(&mut index);
        let error = Index::parse(index.to_text().unwrap().as_bytes()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(message), "{number}: {error}");
    }
    for text in ["", "[]", "{}", "{\"index\": 1}", "{\"index\": -1}"] {
        assert!(Index::parse(text.as_bytes()).is_err(), "{text}");
    }
    let unknown = index()
        .to_text()
        .unwrap()
        .replacen("\"serial\"", "\"cereal\": 1, \"serial\"", 1);
    assert!(Index::parse(unknown.as_bytes()).is_err());
}

#[test]
fn a_yanked_release_keeps_its_records_and_loses_its_payloads() {
    let index = index();
    let release = index.products[0].release("1.0").unwrap();
    assert!(release.present().all(|file| !file.role.is_payload()));
    assert!(release.present().any(|file| file.role == Role::Lock));
    assert_eq!(index.products[0].last().unwrap().version, "1.0");
    assert_eq!(release.update_size(), 4000);
}
