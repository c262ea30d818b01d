//! `nsswitch.conf`: the services of one database.

/// `text` with `services` for `database`; `None` when the file does not have the database.
#[must_use]
pub fn set(text: &str, database: &str, services: &str) -> Option<String> {
    let mut found = false;
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let name = line.split_once(':').map(|(name, _)| name.trim());
        if name == Some(database) {
            found = true;
            out.push_str(&format!("{:<15} {services}", format!("{database}:")));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_database_is_replaced_and_comments_stay() {
        let text = "# hosts: x\npasswd:  files\nhosts: files dns\n";
        assert_eq!(
            super::set(text, "hosts", "files resolve").unwrap(),
            "# hosts: x\npasswd:  files\nhosts:          files resolve\n"
        );
        assert_eq!(super::set(text, "netgroup", "nis"), None);
    }
}
