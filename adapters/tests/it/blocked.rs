//! Addresses that a script must not reach, whatever it tries.

use std::sync::{Arc, Mutex};

use lambdaload_adapters::k6::{K6, Message};
use lambdaload_core::ports::{Generator, GeneratorPhase, LoadGenerator as _, ScriptInputs};
use tokio::net::TcpListener;

use crate::common::{k6_path, reach, start};

/// Tries to reach a port on loopback in all ways that k6 has, and says what came of each.
const INTRUDER: &str = r"
    import http from 'k6/http';
    import ws from 'k6/ws';
    import grpc from 'k6/net/grpc';
    export const options = {
        vus: 1, iterations: 1, blacklistIPs: ['10.0.0.0/8'],
        hosts: { 'harmless.example.com': '127.0.0.1' },
    };
    const port = __ENV.PORT;
    function report(way, error) { console.log(`${way}: ${error}`); }
    export default function () {
        const hosts = ['127.0.0.1', '127.8.8.8', '0.0.0.0', 'localhost', 'harmless.example.com', '[::1]', '[::]',
            '[::ffff:127.0.0.1]'];
        for (const host of hosts) {
            report(host, http.get(`http://${host}:${port}/`, { timeout: '5s' }).error);
        }
        report('own', http.get(`http://10.1.2.3:${port}/`, { timeout: '1s' }).error);
        report('metadata', http.get('http://169.254.169.254/', { timeout: '1s' }).error);
        report('ws', ws.connect(`ws://127.0.0.1:${port}/`, () => {}).error);
        const client = new grpc.Client();
        try {
            client.connect(`127.0.0.1:${port}`, { plaintext: true, timeout: '1s' });
            report('grpc', 'connected');
        } catch (error) { report('grpc', error); }
    }
";

/// Runs it and returns what it reported, each way with whether k6 said that the address is barred.
async fn reports(ranges: &[&str], port: u16) -> Vec<(String, bool)> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let listener = Arc::new(move |message: &Message| heard.lock().unwrap().push(message.to_string()));
    let ranges = ranges.iter().map(|range| (*range).to_owned()).collect();
    let k6 = K6::new(k6_path()).with_blocked_ips(ranges).with_listener(listener);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, INTRUDER).unwrap();
    let inputs = ScriptInputs { env: vec![("PORT".to_owned(), port.to_string())], ..ScriptInputs::default() };
    let tar = k6.archive(&path, &inputs).await.unwrap();
    let Generator { control, mut samples } = start(&k6, tar, false).await;
    let reading = tokio::spawn(async move {
        let mut piece = Vec::new();
        while samples.next(&mut piece).await.unwrap().is_some() {}
    });
    reach(&*control, GeneratorPhase::Paused).await;
    control.resume().await.unwrap();
    control.exited().await;
    reading.await.unwrap();
    let said = said.lock().unwrap();
    let reports = said.iter().filter_map(|line| line.split_once(": "));
    reports.map(|(way, error)| (way.to_owned(), error.contains("blacklisted"))).collect()
}

#[tokio::test]
async fn no_way_leads_to_a_barred_address() {
    // Whoever connects would be seen here.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ranges = ["127.0.0.0/8", "0.0.0.0/8", "::/127", "169.254.0.0/16"];
    let found = reports(&ranges, port).await;
    let ways: Vec<&str> = found.iter().filter(|(_, barred)| *barred).map(|(way, _)| way.as_str()).collect();
    for way in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "localhost",
        "harmless.example.com",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "own",
        "metadata",
        "ws",
        "grpc",
    ] {
        assert!(ways.contains(&way), "{way} is not barred: {found:?}");
    }
    let connected = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(connected.is_err(), "somebody has connected: {connected:?}");
}
