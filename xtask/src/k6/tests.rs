use std::cell::Cell;
use std::fs::File;
use std::io::{Cursor, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::process::turn;

const SCRIPT: &str = "#!/bin/sh\necho 'k6 v9.9.9 (a script, for tests)'\n";

fn pin(releases: &'static [(&'static str, &'static str)]) -> Pin {
    Pin { version: "9.9.9", releases, module: "", module_sum: "", go_mod_sum: "", wheel: None }
}

fn write_program(to: &Path, text: &str) -> Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o755).open(to)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn tar_gz(entry: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(SCRIPT.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, entry, SCRIPT.as_bytes()).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

fn zip(entry: &str) -> Vec<u8> {
    let mut archive = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(entry, ::zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(SCRIPT.as_bytes()).unwrap();
    archive.finish().unwrap().into_inner()
}

/// A pin of 9.9.9 that expects exactly `archive` for `platform`.
fn pin_of(platform: &'static str, archive: &[u8]) -> Pin {
    let sha256: &'static str = release::hex(&Sha256::digest(archive)).leak();
    pin(vec![(platform, sha256)].leak())
}

/// Answers one request with `response` and hangs up. Returns the base URL, and the request's first line when joined.
fn serve(response: Vec<u8>) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&response).unwrap();
        String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
    });
    (base, server)
}

fn ok(body: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Downloads `pin` from `base`. The k6 is in the folder if that went well.
fn download(pin: &Pin, base: &str, platform: &str) -> (tempfile::TempDir, Result<()>) {
    let staging = tempfile::tempdir().unwrap();
    let result = release::install(pin, base, Some(platform), staging.path(), &staging.path().join("k6"));
    (staging, result)
}

fn refusal(pin: &Pin, base: &str) -> String {
    let (staging, result) = download(pin, base, "linux-amd64");
    assert!(!staging.path().join("k6").exists(), "a refused download left a k6");
    format!("{:#}", result.unwrap_err())
}

#[test]
fn a_release_is_downloaded_checked_and_unpacked() {
    let _turn = turn();
    let archive = tar_gz("k6-v9.9.9-linux-amd64/k6");
    let (base, server) = serve(ok(&archive, archive.len()));
    let (staging, result) = download(&pin_of("linux-amd64", &archive), &format!("{base}/"), "linux-amd64");
    result.unwrap();
    assert_eq!(server.join().unwrap(), "GET /v9.9.9/k6-v9.9.9-linux-amd64.tar.gz HTTP/1.1");
    assert_eq!(check(&staging.path().join("k6"), "9.9.9").unwrap(), "k6 v9.9.9 (a script, for tests)");
}

#[test]
fn a_release_for_macos_is_a_zip() {
    let _turn = turn();
    let archive = zip("k6-v9.9.9-macos-arm64/k6");
    let (base, server) = serve(ok(&archive, archive.len()));
    let (staging, result) = download(&pin_of("macos-arm64", &archive), &base, "macos-arm64");
    result.unwrap();
    assert_eq!(server.join().unwrap(), "GET /v9.9.9/k6-v9.9.9-macos-arm64.zip HTTP/1.1");
    check(&staging.path().join("k6"), "9.9.9").unwrap();
}

#[test]
fn an_archive_with_another_checksum_is_refused() {
    let archive = tar_gz("k6-v9.9.9-linux-amd64/k6");
    let (base, _server) = serve(ok(&archive, archive.len()));
    let said = refusal(&pin_of("linux-amd64", b"something else"), &base);
    assert!(said.contains("but the pinned one is") && said.contains("it was thrown away"), "{said}");
}

#[test]
fn a_missing_release_is_refused() {
    let (base, _server) = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec());
    let said = refusal(&pin_of("linux-amd64", b""), &base);
    assert!(said.contains("cannot download http://") && said.contains("404"), "{said}");
}

#[test]
fn a_truncated_download_is_refused() {
    let archive = tar_gz("k6-v9.9.9-linux-amd64/k6");
    let (base, _server) = serve(ok(&archive[..archive.len() / 2], archive.len()));
    let said = refusal(&pin_of("linux-amd64", &archive), &base);
    assert!(said.contains("cannot download http://"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_refused() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let said = refusal(&pin_of("linux-amd64", b""), &format!("http://{closed}"));
    assert!(said.contains("cannot download http://") && said.contains("refused"), "{said}");
}

#[test]
fn an_archive_without_a_k6_is_refused() {
    let archive = tar_gz("README.md");
    let (base, _server) = serve(ok(&archive, archive.len()));
    let said = refusal(&pin_of("linux-amd64", &archive), &base);
    assert_eq!(said, "the archive holds no k6-v9.9.9-linux-amd64/k6");
}

#[test]
fn nothing_is_downloaded_that_cannot_be_checked() {
    // No server: a request would be an error of another kind.
    let said = refusal(&pin(&[("linux-arm64", "")]), "http://127.0.0.1:9");
    assert!(said.starts_with("no checksum is pinned for the linux-amd64 archive"), "{said}");
}

#[test]
fn the_first_way_that_works_is_taken_and_the_cache_serves_from_then_on() {
    let _turn = turn();
    let cache = tempfile::tempdir().unwrap();
    let taken = Cell::new(0);
    let ways: [Way<'_>; 3] = [
        ("fails", &|_, _| bail!("not today")),
        ("works", &|_, to| {
            taken.set(taken.get() + 1);
            write_program(to, SCRIPT)
        }),
        ("never", &|_, _| panic!("a way after the one that worked was tried")),
    ];
    for _ in 0..2 {
        assert_eq!(provide_in(&cache.path().join("9.9.9"), &pin(&[]), &ways).unwrap(), cache.path().join("9.9.9/k6"));
    }
    assert_eq!(taken.get(), 1);
    let left: Vec<_> =
        fs::read_dir(cache.path().join("9.9.9")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["k6"]);
}

#[test]
fn a_way_that_brings_another_version_is_not_taken() {
    let _turn = turn();
    let cache = tempfile::tempdir().unwrap();
    let ways: [Way<'_>; 1] = [("wrong", &|_, to| write_program(to, "#!/bin/sh\necho 'k6 v1.0.0'\n"))];
    let said = provide_in(&cache.path().join("9.9.9"), &pin(&[]), &ways).unwrap_err().to_string();
    assert!(said.starts_with("k6 9.9.9 can't be provided here"), "{said}");
    assert!(!cache.path().join("9.9.9/k6").exists());
}

#[test]
fn a_k6_in_the_cache_that_does_not_run_is_replaced() {
    let _turn = turn();
    let cache = tempfile::tempdir().unwrap();
    let k6 = cache.path().join("9.9.9/k6");
    fs::create_dir(cache.path().join("9.9.9")).unwrap();
    write_program(&k6, "").unwrap();
    let ways: [Way<'_>; 1] = [("works", &|_, to| write_program(to, SCRIPT))];
    provide_in(&cache.path().join("9.9.9"), &pin(&[]), &ways).unwrap();
    check(&k6, "9.9.9").unwrap();
}

#[test]
fn an_interrupted_installation_is_not_a_k6() {
    let _turn = turn();
    let cache = tempfile::tempdir().unwrap();
    // What a kill in the middle of an installation leaves behind.
    let staging = cache.path().join("9.9.9/.installing-abc123");
    fs::create_dir_all(&staging).unwrap();
    write_program(&staging.join("k6"), SCRIPT).unwrap();
    let ways: [Way<'_>; 1] = [("fails", &|_, _| bail!("not today"))];
    provide_in(&cache.path().join("9.9.9"), &pin(&[]), &ways).unwrap_err();
}
