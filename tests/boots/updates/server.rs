//! A web server of static files that can be as bad as servers get.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// What is wrong with some of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One byte in the middle is another.
    Flip,
    /// The second half is missing, and the connection is closed as if all were said.
    Truncate,
    /// Sends half, and then nothing, until the fault is mended.
    Stall,
    /// Sends the reader to a page of somebody else's.
    Redirect,
    /// Something else, with status 200.
    Garbage,
    /// Status 404.
    Missing,
    /// Status 500.
    Broken,
}

#[derive(Default)]
struct State {
    root: PathBuf,
    fault: Option<(String, Fault)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    mended: Condvar,
    /// Bytes of files that left, of answers that are not over, too.
    sent: AtomicU64,
}

/// Lives as long as the process.
pub struct Server {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().root = root.into();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { port, shared }
    }

    /// From now on answers to paths that contain `part` are bad.
    pub fn break_(&self, part: &str, fault: Fault) {
        self.shared.state.lock().unwrap().fault = Some((part.into(), fault));
    }

    /// All answers are good again.
    pub fn mend(&self) {
        self.shared.state.lock().unwrap().fault = None;
        self.shared.mended.notify_all();
    }

    /// Serves another folder.
    pub fn serve(&self, root: &Path) {
        self.shared.state.lock().unwrap().root = root.into();
    }

    /// Bytes of files sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

const GARBAGE: &[u8] = b"<html><title>Welcome to the hotel's network</title></html>\n";

fn answer(mut stream: TcpStream, shared: &Shared) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
    let request = next();
    while !next().is_empty() {}
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (root, fault) = {
        let state = shared.state.lock().unwrap();
        let fault = state
            .fault
            .as_ref()
            .filter(|(part, _)| path.contains(part.as_str()))
            .map(|(_, fault)| *fault);
        (state.root.clone(), fault)
    };
    // Readers may go away.
    let _ = reply(&mut stream, &root, &path, fault, shared);
}

fn reply(
    stream: &mut TcpStream,
    root: &Path,
    path: &str,
    fault: Option<Fault>,
    shared: &Shared,
) -> std::io::Result<u64> {
    let simple = |stream: &mut TcpStream, status: &str, head: &str, body: &[u8]| {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(text.as_bytes())?;
        stream.write_all(body)?;
        std::io::Result::Ok(length as u64)
    };
    let file = match fault {
        Some(Fault::Redirect) if !path.starts_with("/elsewhere") => {
            let head = format!("Location: /elsewhere{path}\r\n");
            return simple(stream, "302 Found", &head, b"");
        }
        Some(Fault::Garbage | Fault::Redirect) => return simple(stream, "200 OK", "", GARBAGE),
        Some(Fault::Missing) => return simple(stream, "404 Not Found", "", b""),
        Some(Fault::Broken) => return simple(stream, "500 Internal Server Error", "", b""),
        _ => root.join(path.trim_start_matches('/')),
    };
    assert!(!path.contains(".."), "{path}");
    let Ok(file) = File::open(file).and_then(|file| {
        let kind = file.metadata()?;
        if kind.is_file() {
            Ok((file, kind.len()))
        } else {
            Err(std::io::ErrorKind::IsADirectory.into())
        }
    }) else {
        return simple(stream, "404 Not Found", "", b"");
    };
    let (mut file, length) = file;
    let end = if fault == Some(Fault::Truncate) {
        length / 2
    } else {
        length
    };
    stream.write_all(
        format!("HTTP/1.1 200 OK\r\nContent-Length: {end}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap());
        let read = file.read(&mut buffer[..want])?;
        if read == 0 {
            break;
        }
        let chunk = &mut buffer[..read];
        let middle = length / 2;
        if (at..at + read as u64).contains(&middle) {
            if fault == Some(Fault::Flip) {
                chunk[usize::try_from(middle - at).unwrap()] ^= 1;
            }
            if fault == Some(Fault::Stall) {
                let state = shared.state.lock().unwrap();
                let wait = shared
                    .mended
                    .wait_while(state, |state| state.fault.is_some());
                drop(wait.unwrap());
                return Ok(at);
            }
        }
        stream.write_all(chunk)?;
        at += read as u64;
        shared.sent.fetch_add(read as u64, Ordering::Relaxed);
    }
    Ok(at)
}
