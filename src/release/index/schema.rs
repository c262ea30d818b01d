//! `docs/channel-index.schema.json` against the types: what they write passes, what they refuse for its
//! form is refused there too.

use serde_json::Value;

use super::index;
use crate::release::index::Index;
use crate::release::names::Role;

const SCHEMA: &str = include_str!("../../../docs/channel-index.schema.json");

/// The part of JSON Schema that the file uses; a keyword that is not known here fails.
fn validate(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let refuse = |keyword: &str| Err(format!("{keyword}: {value}"));
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" => {}
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                validate(root, root.pointer(pointer).unwrap(), value)?;
            }
            "type" => {
                let is = match wanted.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "null" => value.is_null(),
                    other => panic!("unknown type {other}"),
                };
                if !is {
                    return refuse(keyword);
                }
            }
            "const" if wanted != value => return refuse(keyword),
            "enum" if !wanted.as_array().unwrap().contains(value) => return refuse(keyword),
            "const" | "enum" => {}
            "minimum" => {
                if value.is_number() && value.as_i64().is_some_and(|n| n < wanted.as_i64().unwrap())
                {
                    return refuse(keyword);
                }
            }
            "pattern" => {
                // No expressions here; that the alphabets agree is a matter of reading.
                if value
                    .as_str()
                    .is_some_and(|text| text.contains(['/', ' ', '\n']))
                {
                    return refuse(keyword);
                }
            }
            "anyOf" => {
                let any = wanted.as_array().unwrap().iter();
                if !any.clone().any(|one| validate(root, one, value).is_ok()) {
                    return refuse(keyword);
                }
            }
            "required" => {
                for key in wanted.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        return refuse(keyword);
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                if !value
                    .as_object()
                    .unwrap()
                    .keys()
                    .all(|key| known.contains_key(key))
                {
                    return refuse(keyword);
                }
            }
            "properties" => {
                for (key, one) in wanted.as_object().unwrap() {
                    if let Some(part) = value.get(key) {
                        validate(root, one, part)?;
                    }
                }
            }
            "items" => {
                for one in value.as_array().unwrap() {
                    validate(root, wanted, one)?;
                }
            }
            other => panic!("the schema has the keyword {other}, which this test does not know"),
        }
    }
    Ok(())
}

fn check(value: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    validate(&schema, &schema, value)
}

fn value() -> Value {
    serde_json::from_str(&index().to_text().unwrap()).unwrap()
}

#[test]
fn what_is_written_is_what_the_schema_describes() {
    check(&value()).unwrap();
    let mut empty = Index::new("beta");
    empty.serial = 1;
    check(&serde_json::to_value(&empty).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let roles = schema.pointer("/$defs/file/properties/role/enum").unwrap();
    assert_eq!(*roles, serde_json::to_value(Role::ALL).unwrap());
}

#[test]
fn what_the_types_refuse_the_schema_refuses() {
    type Change = fn(&mut Value);
    let table: [Change; 10] = [
        |v| v["index"] = 2.into(),
        |v| v["more"] = 1.into(),
        |v| v["serial"] = (-1).into(),
        |v| v["channel"] = "a/b".into(),
        |v| v["products"][0]["arch"] = "amd64".into(),
        |v| v["products"][0]["current"] = 1.into(),
        |v| v["products"][0]["releases"][0]["files"][0]["role"] = "root".into(),
        |v| v["products"][0]["releases"][0]["files"][0]["size"] = "1".into(),
        |v| v["products"][0]["releases"][0]["yanked"] = true.into(),
        |v| {
            let layout = v["products"][0]["releases"][0]["layout"].as_object_mut();
            layout.unwrap().remove("esp");
        },
    ];
    for (number, change) in table.into_iter().enumerate() {
        let mut value = value();
        change(&mut value);
        assert!(check(&value).is_err(), "{number}");
        assert!(
            Index::parse(value.to_string().as_bytes()).is_err(),
            "{number}"
        );
    }
}
