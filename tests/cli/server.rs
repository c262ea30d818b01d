//! An HTTP server on the loopback, as good or as bad as a test wants it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it answers to a path.
#[derive(Clone, Default)]
pub struct Reply {
    pub body: Vec<u8>,
    /// A `Content-Length` that is not the body's.
    pub declared: Option<u64>,
    /// A pause after each 4 KiB.
    pub pause: Duration,
    /// So many answers break off in the middle.
    pub cuts: usize,
    /// It knows no ranges, and always answers with everything.
    pub whole: bool,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<BTreeMap<String, Reply>>,
    log: Mutex<Vec<String>>,
}

/// Lives as long as the process.
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { url, shared }
    }

    pub fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        let reply = Reply {
            body: body.into(),
            ..Reply::default()
        };
        let mut replies = self.shared.replies.lock().unwrap();
        replies.insert(format!("/{path}"), reply);
    }

    pub fn remove(&self, path: &str) {
        let mut replies = self.shared.replies.lock().unwrap();
        assert!(replies.remove(&format!("/{path}")).is_some(), "{path}");
    }

    /// Changes the replies to all paths that contain `part`, of which there must be one.
    pub fn change(&self, part: &str, how: impl Fn(&mut Reply)) {
        let mut replies = self.shared.replies.lock().unwrap();
        let mut found = 0;
        for (path, reply) in replies.iter_mut() {
            if path.contains(part) {
                how(reply);
                found += 1;
            }
        }
        assert!(found > 0, "{part}");
    }

    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let replies = self.shared.replies.lock().unwrap();
        let file = |(path, reply): (&String, &Reply)| {
            (path.trim_start_matches('/').to_owned(), reply.body.clone())
        };
        replies.iter().map(file).collect()
    }

    /// Requests since the last call: `PATH`, or `PATH FROM-` for a range.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.log.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
    let request = next();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = None;
    loop {
        let line = next().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    let entry = from.map_or_else(|| path.clone(), |from| format!("{path} {from}-"));
    shared.log.lock().unwrap().push(entry);
    let reply = {
        let mut replies = shared.replies.lock().unwrap();
        let reply = replies.get(&path).cloned();
        if let Some(kept) = replies.get_mut(&path) {
            kept.cuts = kept.cuts.saturating_sub(1);
        }
        reply
    };
    let close = "Connection: close\r\n\r\n";
    let Some(reply) = reply else {
        let head = format!("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}");
        let _ = stream.write_all(head.as_bytes());
        return;
    };
    if reply.whole {
        from = None;
    }
    let whole = reply.body.len();
    let start = from.unwrap_or(0).min(whole);
    let rest = &reply.body[start..];
    let status = if from.is_some() {
        format!("206 Partial Content\r\nContent-Range: bytes {start}-{whole}/{whole}")
    } else {
        "200 OK".into()
    };
    let length = reply.declared.unwrap_or(rest.len() as u64);
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"a\"\r\n{close}");
    let _ = stream.write_all(head.as_bytes());
    let end = if reply.cuts > 0 {
        rest.len() / 2
    } else {
        rest.len()
    };
    for chunk in rest[..end].chunks(4096) {
        if stream
            .write_all(chunk)
            .and_then(|()| stream.flush())
            .is_err()
        {
            return;
        }
        std::thread::sleep(reply.pause);
    }
}
