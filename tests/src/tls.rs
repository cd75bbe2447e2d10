//! A certificate for servers on the loopback.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A certificate for `127.0.0.1` that is its own root, and its key; also as files, which are gone when it is dropped.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    /// The certificate as PEM: what a client has to trust.
    pub pem: String,
    folder: tempfile::TempDir,
}

impl Certificate {
    /// A new one.
    ///
    /// # Panics
    /// If it can't be made or written.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let own = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()]).expect("a certificate");
        let certificate = Self {
            der: own.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()),
            pem: own.cert.pem(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        std::fs::write(certificate.file(), &certificate.pem).expect("the certificate is written");
        std::fs::write(certificate.key_file(), own.signing_key.serialize_pem()).expect("the key is written");
        certificate
    }

    /// The file with the certificate as PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The file with its key as PEM.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// For a server that has it.
    ///
    /// # Panics
    /// If the TLS library refuses it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .expect("a certificate and its key");
        Arc::new(config)
    }

    /// For a client that trusts nobody else.
    ///
    /// # Panics
    /// If the TLS library refuses it.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
