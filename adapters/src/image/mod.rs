//! The image of workers that are tasks: made of nothing but their programs, without Docker, and pushed to a registry.
//!
//! The same programs give the same image, byte for byte and so by digest, wherever and whenever it is made: entries are
//! sorted, belong to root and are of the year 1970, and the authorities are those that this version of lambdaload knows.

mod files;
mod layer;
mod program;
mod push;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use files::{FolderError, programs_in};
pub use program::{Architecture, NotTaken};
pub use push::{PushError, Reference, push};

use layer::{Entry, packed, tar_of};

/// Where the image has its worker. k6 is where [`lambdaload_core::deployment::TASK_K6_PATH`] says.
pub const WORKER_PATH: &str = "/lambdaload-worker";

/// The user and the group that the image runs as; neither is root, and nothing in the image is theirs.
const USER: u32 = 10_001;
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What an image is made of, for one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    /// For what processors.
    pub architecture: Architecture,
    /// Stock k6.
    pub k6: Vec<u8>,
    /// The functions' program.
    pub worker: Vec<u8>,
    /// What has to be passed on with them: path below `/licences`, and contents.
    pub licences: BTreeMap<String, Vec<u8>>,
}

/// An image for one architecture or more: an index, and all that it names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The architectures, in the order of their names.
    pub architectures: Vec<Architecture>,
    /// The index, which stands for the image: its digest is the image's.
    index: Blob,
    manifests: Vec<Blob>,
    /// Configurations and layers.
    blobs: Vec<Blob>,
}

/// Bytes with their name.
#[derive(Clone, Debug)]
struct Blob {
    kind: &'static str,
    /// `sha256:` and hexadecimal digits.
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, digest: digest(&bytes), bytes }
    }

    fn json(kind: &'static str, value: &Value) -> Self {
        Self::new(kind, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest, "size": self.bytes.len() })
    }
}

fn digest(bytes: &[u8]) -> String {
    let start = "sha256:".to_owned();
    Sha256::digest(bytes).iter().fold(start, |digits, byte| digits + &format!("{byte:02x}"))
}

impl Image {
    /// Makes an image of static programs; `version` is lambdaload's.
    ///
    /// # Errors
    /// If a program would not run in it.
    pub fn new(version: &str, mut programs: Vec<Programs>) -> Result<Self, NotTaken> {
        programs.sort_by_key(|one| one.architecture.oci());
        programs.dedup_by_key(|one| one.architecture);
        let (mut manifests, mut blobs, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for one in &programs {
            program::check("k6", &one.k6, one.architecture)?;
            program::check("lambdaload-worker", &one.worker, one.architecture)?;
            let tars: Vec<Vec<u8>> = layers(one).iter().map(|entries| tar_of(entries)).collect();
            let layers: Vec<Blob> = tars.iter().map(|tar| Blob::new(LAYER, packed(tar))).collect();
            let config = Blob::json(CONFIG, &config(version, one.architecture, &tars));
            let manifest = Blob::json(
                MANIFEST,
                &json!({
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": config.descriptor(),
                    "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
                }),
            );
            let mut descriptor = manifest.descriptor();
            descriptor["platform"] = json!({ "architecture": one.architecture.oci(), "os": "linux" });
            descriptors.push(descriptor);
            manifests.push(manifest);
            blobs.push(config);
            blobs.extend(layers);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors });
        // Both architectures have files in common.
        blobs.sort_by(|one, other| one.digest.cmp(&other.digest));
        blobs.dedup_by(|one, other| one.digest == other.digest);
        let architectures = programs.iter().map(|one| one.architecture).collect();
        Ok(Self { architectures, index: Blob::json(INDEX, &index), manifests, blobs })
    }

    /// The digest by which a registry knows it: `sha256:` and hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.index.digest
    }

    /// The size of all that a registry keeps of it, in bytes.
    pub fn size(&self) -> usize {
        self.all().map(|blob| blob.bytes.len()).sum()
    }

    /// It as one file, an archive of an OCI layout, as `podman load` and `docker load` take it; `name` is what they will
    /// call it.
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let mut descriptor = self.index.descriptor();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
        let mut entries = vec![
            Entry::file("/oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes()),
            Entry::file("/index.json", index.to_string().into_bytes()),
            Entry::folder("/blobs"),
            Entry::folder("/blobs/sha256"),
        ];
        entries.extend(self.all().map(|blob| {
            let name = blob.digest.trim_start_matches("sha256:");
            Entry::file(&format!("/blobs/sha256/{name}"), blob.bytes.clone())
        }));
        tar_of(&entries)
    }

    fn all(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.iter().chain(&self.manifests).chain([&self.index])
    }
}

/// Three of them, by how often they change: a new lambdaload is mostly a new worker only.
fn layers(programs: &Programs) -> [Vec<Entry>; 3] {
    let mut base = vec![
        Entry::folder("/etc"),
        Entry::file("/etc/group", format!("lambdaload:x:{USER}:\n").into_bytes()),
        Entry::file("/etc/passwd", format!("lambdaload:x:{USER}:{USER}:lambdaload:/tmp:/sbin/nologin\n").into_bytes()),
        Entry::folder("/etc/ssl"),
        Entry::folder("/etc/ssl/certs"),
        Entry::file(AUTHORITIES, files::authorities().into_bytes()),
        Entry::open_folder("/tmp"),
    ];
    let mut folders: Vec<String> = Vec::new();
    for (path, contents) in &programs.licences {
        let path = format!("/licences/{path}");
        for (end, _) in path.match_indices('/').skip(1) {
            if !folders.contains(&path[..end].to_owned()) {
                folders.push(path[..end].to_owned());
                base.push(Entry::folder(&path[..end]));
            }
        }
        base.push(Entry::file(&path, contents.clone()));
    }
    let k6 = lambdaload_core::deployment::TASK_K6_PATH;
    [base, vec![Entry::program(k6, programs.k6.clone())], vec![Entry::program(WORKER_PATH, programs.worker.clone())]]
}

fn config(version: &str, architecture: Architecture, tars: &[Vec<u8>]) -> Value {
    const EPOCH: &str = "1970-01-01T00:00:00Z";
    let contents = ["certificate authorities, user and licences", "k6", "lambdaload's worker"];
    json!({
        "architecture": architecture.oci(),
        "os": "linux",
        "created": EPOCH,
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": [
                format!("{}={}", lambdaload_core::deployment::variable::FUNCTION, lambdaload_core::deployment::TASK),
                format!("SSL_CERT_FILE={AUTHORITIES}"),
            ],
            "Entrypoint": [WORKER_PATH],
            "WorkingDir": "/tmp",
            "StopSignal": "SIGTERM",
            // So that a volume which is mounted there keeps its mode: anybody may write.
            "Volumes": { "/tmp": {} },
            "Labels": {
                "org.opencontainers.image.title": "lambdaload-worker",
                "org.opencontainers.image.description": "A worker of lambdaload: stock k6 and what reads it",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0 AND AGPL-3.0-only",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": tars.iter().map(|tar| digest(tar)).collect::<Vec<_>>() },
        "history": contents.map(|what| json!({ "created": EPOCH, "created_by": "lambdaload image", "comment": what })),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn programs(architecture: Architecture) -> Programs {
        let program = |name: &str| [program::tests::header(architecture, 1), name.as_bytes().to_vec()].concat();
        let licences = [("k6/NOTICE", "a notice"), ("k6/LICENSE.md", "a licence"), ("worker.txt", "another")];
        Programs {
            architecture,
            k6: program("k6"),
            worker: program("worker"),
            licences: licences.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into(),
        }
    }

    fn image(programs: Vec<Programs>) -> Image {
        Image::new("1.2.3", programs).unwrap()
    }

    /// The archive's files by their paths.
    fn unpacked(tar: &[u8]) -> BTreeMap<String, (u32, u64, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            let header = entry.header();
            let owned = header.uid().unwrap() + header.gid().unwrap() + header.mtime().unwrap();
            (entry.path().unwrap().display().to_string(), (header.mode().unwrap(), owned, contents))
        });
        entries.collect()
    }

    fn json_of(files: &BTreeMap<String, (u32, u64, Vec<u8>)>, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))].2;
        assert_eq!(super::digest(bytes), digest, "a blob is stored under another name than its own");
        assert_eq!(descriptor["size"], bytes.len());
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn an_image_has_the_programs_and_hardly_anything_else() {
        let image = image(vec![programs(Architecture::X86_64), programs(Architecture::Arm64)]);
        let files = unpacked(&image.archive("lambdaload-worker:1.2.3"));
        let index: Value = serde_json::from_slice(&files["index.json"].2).unwrap();
        let index = json_of(&files, &index["manifests"][0]);
        let platforms: Vec<&Value> =
            index["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]["architecture"]).collect();
        assert_eq!(platforms, ["amd64", "arm64"]);
        for (architecture, descriptor) in
            [Architecture::X86_64, Architecture::Arm64].iter().zip(index["manifests"].as_array().unwrap())
        {
            let manifest = json_of(&files, descriptor);
            let config = json_of(&files, &manifest["config"]);
            assert_eq!(config["config"]["User"], "10001:10001");
            assert_eq!(config["config"]["Entrypoint"], json!([WORKER_PATH]));
            let mut contents = BTreeMap::new();
            for (layer, diff) in
                manifest["layers"].as_array().unwrap().iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap())
            {
                let packed = &files[&format!("blobs/sha256/{}", &layer["digest"].as_str().unwrap()[7..])].2;
                let mut tar = Vec::new();
                flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
                assert_eq!(digest(&tar), diff.as_str().unwrap());
                contents.extend(unpacked(&tar));
            }
            let paths: Vec<&str> = contents.keys().map(String::as_str).collect();
            assert_eq!(
                paths,
                [
                    "etc",
                    "etc/group",
                    "etc/passwd",
                    "etc/ssl",
                    "etc/ssl/certs",
                    "etc/ssl/certs/ca-certificates.crt",
                    "k6",
                    "lambdaload-worker",
                    "licences",
                    "licences/k6",
                    "licences/k6/LICENSE.md",
                    "licences/k6/NOTICE",
                    "licences/worker.txt",
                    "tmp",
                ]
            );
            // All is root's and of 1970; a worker may write to `/tmp` only, and run two programs.
            for (path, (mode, owned, _)) in &contents {
                let expected = match path.as_str() {
                    "tmp" => 0o1777,
                    "k6" | "lambdaload-worker" => 0o555,
                    _ if contents.keys().any(|other| other.starts_with(&format!("{path}/"))) => 0o755,
                    _ => 0o444,
                };
                assert_eq!((*mode, *owned), (expected, 0), "{path}");
            }
            assert_eq!(contents["k6"].2, programs(*architecture).k6);
            assert_eq!(contents["lambdaload-worker"].2, programs(*architecture).worker);
            let authorities = String::from_utf8(contents["etc/ssl/certs/ca-certificates.crt"].2.clone()).unwrap();
            assert!(authorities.matches("-----BEGIN CERTIFICATE-----").count() > 100);
        }
    }

    #[test]
    fn the_same_programs_give_the_same_image() {
        let [x86_64, arm64] = [Architecture::X86_64, Architecture::Arm64].map(programs);
        let one = image(vec![x86_64.clone(), arm64.clone()]);
        let other = image(vec![arm64.clone(), x86_64.clone()]);
        assert_eq!((one.digest(), one.archive("a")), (other.digest(), other.archive("a")));
        // Changes whenever what an image is made of does: then say so in the change log.
        assert_ne!(one.digest(), image(vec![x86_64.clone()]).digest());
        let changed = Programs { worker: [x86_64.worker.clone(), vec![0]].concat(), ..x86_64.clone() };
        assert_ne!(one.digest(), image(vec![changed, arm64.clone()]).digest());
        assert_ne!(one.digest(), Image::new("1.2.4", vec![x86_64, arm64]).unwrap().digest());
    }

    #[test]
    fn programs_that_would_not_run_are_refused() {
        let refusal = |programs| Image::new("1", vec![programs]).unwrap_err().to_string();
        let whole = programs(Architecture::X86_64);
        let other = Programs { k6: programs(Architecture::Arm64).k6, ..whole.clone() };
        assert_eq!(refusal(other), "k6 for x86_64: it is a program for other processors");
        let dynamic = Programs { worker: program::tests::header(Architecture::X86_64, 3), ..whole.clone() };
        assert!(refusal(dynamic).starts_with("lambdaload-worker for x86_64: it is not linked statically"));
        let script = Programs { k6: b"#!/bin/sh\n".to_vec(), ..whole };
        assert_eq!(refusal(script), "k6 for x86_64: it is no 64-bit Linux program");
    }
}
