//! Everything a script can be made of reaches every worker: modules, TypeScript, data, what comes over HTTPS.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lambdaload_tests::{
    cli::{Folder, Running, Said},
    k6_binary,
};
use sha2::{Digest as _, Sha256};

use crate::https::Https;

/// Six VUs on three workers, each of which checks each part. `$REMOTE` stands for the server's address.
const MAIN: &str = r"
import { check } from 'k6';
import { sha256 } from 'k6/crypto';
import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';
import { total, prices } from './lib/cart.js';
import type { User } from './lib/types.ts';
import { greet } from './lib/types.ts';
import { twice } from '../shared/outside.js';
import { square, cube } from '$REMOTE/math/powers.js';

const whole: Counter = new Counter('whole');
const blob: ArrayBuffer = open('./data/blob.bin', 'b');
const users = new SharedArray('users', (): User[] => JSON.parse(open('./data/users.json')));
const country: string = open(`./data/${__ENV.COUNTRY}.csv`);

export const options = {
  scenarios: { all: { executor: 'per-vu-iterations', vus: 6, iterations: 1 } },
  thresholds: { checks: ['rate==1'], whole: ['count==6'] },
};

export default function (): void {
  const well = check(null, {
    'a local module in a folder': () => total([1, 2]) === 30,
    'a file beside a module': () => prices.bread === 10,
    'a module above the script': () => twice(21) === 42,
    'a module in TypeScript': () => greet(users[1]) === 'Hello, Zoë 😀',
    'shared data': () => users.length === 1000 && users[999].name === 'user 999',
    'a binary file, byte for byte': () => blob.byteLength === $SIZE && sha256(blob, 'hex') === '$HASH',
    'a file whose name comes from a variable': () => country === 'k;v\nGrüezi;1\n',
    'modules that came over HTTPS': () => square(3) === 9 && cube(2) === 8,
  });
  if (well) whole.add(1);
}
";

const CART: &str = "import { of } from '../data/prices.js';
export const prices = JSON.parse(open(import.meta.resolve('../data/prices.json')));
export function total(numbers) { return numbers.reduce((sum, n) => sum + of(n), 0); }";

const TYPES: &str = "export interface User { name: string }
export function greet(user: User): string { return `Hello, ${user.name}`; }";

/// What the server has: a module, and another that it imports from beside it.
const REMOTE: [(&str, &str); 2] = [
    (
        "/math/powers.js",
        "import { times } from './times.js'; export const square = (n) => times(n, n); export const cube = (n) => times(n, square(n));",
    ),
    ("/math/times.js", "export const times = (a, b) => a * b;"),
];

/// The whole script in `<folder>/shop`, and what it imports from beside it.
fn write_shop(folder: &Folder, remote: &Https) -> PathBuf {
    let shop = folder.path().join("shop");
    for sub in ["shop/lib", "shop/data", "shared", "elsewhere"] {
        std::fs::create_dir_all(folder.path().join(sub)).expect("a folder");
    }
    // All bytes, in no order that is text.
    let blob: Vec<u8> =
        (0..200_003_u32).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).expect("a byte")).collect();
    let hash = Sha256::digest(&blob).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let main = MAIN.replace("$REMOTE", &remote.url()).replace("$HASH", &hash);
    let users: Vec<_> = (0..1000)
        .map(|i| serde_json::json!({ "name": if i == 1 { "Zoë 😀".to_owned() } else { format!("user {i}") } }))
        .collect();
    let write = |name: &str, contents: &[u8]| std::fs::write(shop.join(name), contents).expect("the file is written");
    write("main.ts", main.replace("$SIZE", &blob.len().to_string()).as_bytes());
    write("lib/cart.js", CART.as_bytes());
    write("lib/types.ts", TYPES.as_bytes());
    write("data/prices.js", b"export const of = (n) => n * 10;");
    write("data/prices.json", br#"{"bread":10}"#);
    write("data/blob.bin", &blob);
    write("data/users.json", serde_json::to_string(&users).expect("JSON").as_bytes());
    write("data/ch.csv", "k;v\nGrüezi;1\n".as_bytes());
    folder.write("shared/outside.js", "export const twice = (n) => 2 * n;");
    folder.write("ca.pem", &remote.certificate);
    shop
}

/// Runs a test on three workers from a folder.
fn run_in(folder: &Folder, from: &str, arguments: &[&str]) -> Said {
    let mut command = folder.command(&[&["run"], arguments, &["--workers", "3"]].concat());
    command.current_dir(folder.path().join(from));
    let certificate = folder.path().join("ca.pem");
    if certificate.exists() {
        command.env("SSL_CERT_FILE", certificate);
    }
    Running::start(command).wait()
}

fn passed(said: &Said) {
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("3 of 3 finished"), "{}", said.stdout);
}

#[test]
fn a_script_brings_all_it_imports_and_opens_to_every_worker() {
    let (folder, remote) = (Folder::new(), Https::start(&REMOTE));
    write_shop(&folder, &remote);
    for (from, script) in [("", "shop/main.ts"), ("shop", "main.ts"), ("elsewhere", "../shop/main.ts")] {
        let before = remote.requests().get("/math/times.js").copied().unwrap_or_default();
        passed(&run_in(&folder, from, &[script, "-e", "COUNTRY=ch"]));
        let after = remote.requests()["/math/times.js"];
        assert!(after > before, "the server was asked");
        assert!(after - before < 3, "but not by the workers: {:?}", remote.requests());
    }
}

#[test]
fn an_archive_needs_neither_its_sources_nor_the_network() {
    let (folder, remote) = (Folder::new(), Https::start(&REMOTE));
    let shop = write_shop(&folder, &remote);
    let archived = archive(&folder, &shop);
    assert!(archived.status.success(), "{archived:?}");
    drop(remote);
    std::fs::remove_dir_all(&shop).expect("the sources are removed");
    std::fs::remove_dir_all(folder.path().join("shared")).expect("the sources are removed");
    passed(&run_in(&folder, "", &["shop.tar"]));
    passed(&run_in(&folder, "elsewhere", &["../shop.tar"]));
    // Archived anew, with a variable more.
    passed(&run_in(&folder, "elsewhere", &["../shop.tar", "-e", "MORE=1"]));
}

#[test]
fn folders_may_have_any_name() {
    let folder = Folder::new();
    for odd in ["my shop é", "a%20b", "#1", "😀"] {
        std::fs::create_dir(folder.path().join(odd)).expect("a folder");
        folder.write(&format!("{odd}/words.txt"), "good");
        folder.write(&format!("{odd}/lib.js"), "export const one = 1;");
        let test = format!("{odd}/test.js");
        folder.write(
            &test,
            "import { one } from './lib.js'; import { check } from 'k6'; const words = open('./words.txt');
            export const options = { vus: 3, iterations: 3, thresholds: { checks: ['rate==1'], iterations: ['count==3'] } };
            export default () => check(words, { good: (w) => w === 'good' && one === 1 });",
        );
        passed(&run_in(&folder, "", &[&test]));
    }
}

/// As a person makes one.
fn archive(folder: &Folder, shop: &Path) -> std::process::Output {
    let mut k6 = Command::new(k6_binary());
    k6.args(["archive", "--quiet", "-e", "COUNTRY=ch", "-O", "../shop.tar", "main.ts"]);
    k6.current_dir(shop).env("SSL_CERT_FILE", folder.path().join("ca.pem")).output().expect("k6 runs")
}

#[test]
fn what_cannot_be_imported_is_named_before_anything_starts() {
    let folder = Folder::new();
    let url = { Https::start(&[]).url() };
    for (script, named) in [
        ("import './not/there.js'; export default () => {};".to_owned(), "not/there.js"),
        ("const d = open('./absent.csv'); export default () => {};".to_owned(), "absent.csv"),
        (format!("import '{url}/gone.js'; export default () => {{}};"), "/gone.js"),
    ] {
        folder.write("test.js", script);
        let said = folder.run(&["run", "test.js"]);
        assert!(matches!(said.code, Some(97..=107)) && said.stdout.is_empty(), "{said:#?}");
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(named), "{said:#?}");
    }
    assert_eq!(folder.run(&["runs", "list", "--output", "json"]).stdout.trim(), "[]");
}
