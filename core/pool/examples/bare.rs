//! What this machine does without a server's work, to hold the server's figures against. benches/against_git_annex.py runs it.
//!
//! ```text
//! bare answer                         says its URL, and that everything is present, without reading the question
//! bare keep DIR COUNT SIZE THREADS    makes so many files durable, one directory each; prints how many a second
//! bare hash SIZE                      hashes so many bytes; prints how many MB a second
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a failure here is a failure, and this is no core"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use pool::hash::HashKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["answer"] => tokio::runtime::Runtime::new().unwrap().block_on(answer()),
        ["keep", dir, count, size, threads] => {
            let rate =
                keep(Path::new(dir), count.parse().unwrap(), size.parse().unwrap(), threads.parse().unwrap());
            println!("{rate}");
        }
        ["hash", size] => println!("{}", hash(size.parse().unwrap())),
        _ => panic!("answer | keep DIR COUNT SIZE THREADS | hash SIZE"),
    }
}

/// Answers every request of every connection with the same bytes.
async fn answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("annex+http://{}/git-annex/bare", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(answer_all(stream));
    }
}

/// The clients here send a request whole, with nothing after it, and wait for the answer.
async fn answer_all(mut stream: TcpStream) {
    const PRESENT: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=utf-8\r\ncontent-length: 16\r\n\r\n{\"present\":true}";
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(PRESENT).await.is_err() {
                return;
            }
        }
    }
}

/// As a server must that has promised to keep an object: the bytes, the name and the directory are durable.
fn keep(root: &Path, count: u64, size: usize, threads: usize) -> f64 {
    let (next, content, start) = (AtomicU64::new(0), vec![b'x'; size], Instant::now());
    let on_one_thread = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let (temporary, directory) = (root.join(format!("{number}.part")), root.join(number.to_string()));
            let mut file = File::create_new(&temporary).unwrap();
            file.write_all(&content).unwrap();
            file.sync_data().unwrap();
            fs::create_dir(&directory).unwrap();
            fs::rename(temporary, directory.join("object")).unwrap();
            File::open(&directory).unwrap().sync_all().unwrap();
            File::open(root).unwrap().sync_all().unwrap();
        }
    };
    fs::create_dir_all(root).unwrap();
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(on_one_thread)));
    count as f64 / start.elapsed().as_secs_f64()
}

fn hash(size: usize) -> f64 {
    let (content, mut hasher) = (vec![b'x'; size], HashKind::Sha256.hasher());
    let start = Instant::now();
    hasher.update(&content);
    std::hint::black_box(hasher.finish());
    size as f64 / 1e6 / start.elapsed().as_secs_f64()
}
