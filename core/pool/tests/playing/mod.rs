//! Plays transcripts of the P2P protocol to a server. A line that begins with `C>` is sent, one that begins with `S>` must
//! come; `<…>` are bytes of an object. `S> TIMESTAMP T` is any time; `T-5` or `T+30` in later lines is that time and so much.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Plays a transcript, to the end of the session. Where it has one of these names, what the name stands for is meant; no
/// name may be in another that comes later.
pub async fn play(client: &mut DuplexStream, transcript: &str, names: &[(&str, &str)]) {
    let transcript =
        names.iter().fold(transcript.to_owned(), |text, (name, meant)| text.replace(name, meant));
    let mut time = 0;
    for line in lines(&transcript) {
        match line {
            "S> TIMESTAMP T" => time = timestamp(client).await,
            line => step(client, &at(line, time)).await,
        }
    }
    let _ = client.shutdown().await;
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "", "the server says more than the real one");
}

/// The lines of a transcript; bytes of an object may have line feeds of their own.
fn lines(transcript: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = transcript;
    while !rest.is_empty() {
        let end = match rest[3..].starts_with('<') {
            true => rest.find('>').and_then(|first| rest[first + 1..].find('>').map(|end| first + end + 2)),
            false => rest.find('\n'),
        };
        let end = end.unwrap_or(rest.len());
        lines.push(&rest[..end]);
        rest = rest[end..].trim_start_matches('\n');
    }
    lines
}

async fn step(client: &mut DuplexStream, line: &str) {
    let (who, said) = line.split_at(3);
    let said = match said.strip_prefix('<') {
        Some(bytes) => bytes.strip_suffix('>').unwrap().to_owned(),
        None => format!("{said}\n"),
    };
    if who == "C> " {
        // Who has ended the session takes nothing more: what was to be answered will be missed.
        let _ = client.write_all(said.as_bytes()).await;
        return;
    }
    let mut came = vec![0; said.len()];
    let read = async {
        for place in 0..came.len() {
            if client.read(&mut came[place..=place]).await.unwrap() == 0 {
                return place;
            }
        }
        came.len()
    };
    let length = tokio::time::timeout(Duration::from_secs(10), read).await.unwrap_or(0);
    assert_eq!(String::from_utf8_lossy(&came[..length]), said);
}

async fn timestamp(client: &mut DuplexStream) -> i64 {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(client.read_u8().await.unwrap()));
    }
    line.trim().strip_prefix("TIMESTAMP ").unwrap_or_else(|| panic!("{line}")).parse().unwrap()
}

/// A line with the time that it means.
fn at(line: &str, time: i64) -> String {
    let Some((before, rest)) = line.split_once(" T").filter(|(_, rest)| rest.starts_with(['+', '-'])) else {
        return line.to_owned();
    };
    let (offset, after) = rest.split_once(' ').unwrap();
    format!("{before} {} {after}", time + offset.parse::<i64>().unwrap())
}
