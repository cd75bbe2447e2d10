//! An image's way into a registry.

use std::{fmt, str::FromStr, time::Duration};

use oci_client::{
    Client, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};

use super::{Blob, Image};

/// Of one answer; a layer is tens of megabytes.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where an image is in a registry: `HOST/NAME:TAG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    inner: oci_client::Reference,
}

impl Reference {
    /// With the image's digest in place of the tag: it means this image for ever.
    pub fn by_digest(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.inner.registry(), self.inner.repository())
    }

    /// The registry: a host, and a port if it is not the usual one.
    pub fn registry(&self) -> &str {
        self.inner.registry()
    }

    /// Its tag.
    fn tag(&self) -> &str {
        self.inner.tag().unwrap_or_default()
    }

    /// Another one of the same name.
    fn with_tag(&self, tag: String) -> oci_client::Reference {
        oci_client::Reference::with_tag(self.inner.registry().to_owned(), self.inner.repository().to_owned(), tag)
    }

    /// Whether the registry is on this machine: then it is spoken to without TLS, as by other tools.
    fn is_local(&self) -> bool {
        let host = self.inner.registry().rsplit_once(':').map_or(self.inner.registry(), |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected HOST/NAME:TAG, for example localhost:5000/lambdaload-worker:1.2.3";
        let inner =
            oci_client::Reference::try_from(text).map_err(|error| format!("{expected}, found {text}: {error}"))?;
        // What is left out would mean Docker Hub, and the tag `latest`.
        let named = text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        let tagged = inner.tag().is_some_and(|tag| text.ends_with(&format!(":{tag}")));
        if named && tagged { Ok(Self { inner }) } else { Err(format!("{expected}, found {text}")) }
    }
}

/// Why an image is not in a registry.
#[derive(Debug, thiserror::Error)]
#[error("pushing {what} to {registry}")]
pub struct PushError {
    what: String,
    registry: String,
    #[source]
    error: Box<OciDistributionError>,
}

/// Pushes what the registry does not have of an image, the image itself last; so whoever finds it finds all of it.
/// `login` is a name and a password.
pub async fn push(image: &Image, to: &Reference, login: Option<(String, String)>) -> Result<(), PushError> {
    crate::http::provide_tls();
    let registry = to.registry().to_owned();
    let failed = |what: &str| {
        let (what, registry) = (what.to_owned(), registry.clone());
        move |error| PushError { what, registry, error: Box::new(error) }
    };
    let client = Client::try_from(ClientConfig {
        protocol: if to.is_local() { ClientProtocol::Http } else { ClientProtocol::Https },
        // One request each: registries differ in which pieces they take.
        use_monolithic_push: true,
        connect_timeout: Some(Duration::from_secs(10)),
        read_timeout: Some(PATIENCE),
        user_agent: concat!("lambdaload/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
    .map_err(failed("anything"))?;
    let auth = login.map_or(RegistryAuth::Anonymous, |(name, password)| RegistryAuth::Basic(name, password));
    client.auth(&to.inner, &auth, RegistryOperation::Push).await.map_err(failed("anything"))?;
    for blob in &image.blobs {
        let there = client.blob_exists(&to.inner, &blob.digest).await.map_err(failed(&blob.digest))?;
        if !there {
            let pushed = client.push_blob(&to.inner, blob.bytes.clone(), &blob.digest).await;
            pushed.map_err(failed(&format!("{} ({} MB)", blob.digest, blob.bytes.len() / 1_000_000)))?;
        }
    }
    for (architecture, manifest) in image.architectures.iter().zip(&image.manifests) {
        let tag = format!("{}-{architecture}", to.tag());
        put(&client, &to.with_tag(tag), &auth, manifest).await.map_err(failed(&manifest.digest))?;
    }
    put(&client, &to.inner, &auth, &image.index).await.map_err(failed("the image"))
}

/// By tag, not by digest: the library cannot put by digest where a registry does not tell the place, as ECR does not.
/// What is there is not put again, because tags may be forbidden to change, and ECR takes that as a change.
async fn put(
    client: &Client,
    to: &oci_client::Reference,
    auth: &RegistryAuth,
    manifest: &Blob,
) -> Result<(), OciDistributionError> {
    // What is wrong here is wrong when it is put, too.
    if client.fetch_manifest_digest(to, auth).await.is_ok_and(|digest| digest == manifest.digest) {
        return Ok(());
    }
    let kind = reqwest::header::HeaderValue::from_static(manifest.kind);
    client.push_manifest_raw(to, manifest.bytes.clone(), kind).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_its_registry_and_a_tag() {
        let place = |text: &str| text.parse::<Reference>();
        let ecr = place("123456789012.dkr.ecr.eu-north-1.amazonaws.com/lambdaload-worker:0.1.0").unwrap();
        assert!(!ecr.is_local());
        assert_eq!(
            ecr.by_digest("sha256:12"),
            "123456789012.dkr.ecr.eu-north-1.amazonaws.com/lambdaload-worker@sha256:12"
        );
        for local in ["localhost:5000/a:1", "127.0.0.1:5000/a/b:1"] {
            assert!(place(local).unwrap().is_local(), "{local}");
        }
        for wrong in
            ["worker:1", "localhost:5000/worker", "library/worker:1", "", "LOCALHOST/:", "localhost:5000/A b:1"]
        {
            assert!(place(wrong).unwrap_err().starts_with("expected HOST/NAME:TAG"), "{wrong}");
        }
    }
}
