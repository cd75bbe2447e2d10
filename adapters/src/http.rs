//! HTTP to what is on this machine, and the cryptography of TLS to what is not.

#[cfg(feature = "image")]
use std::sync::Once;

/// For clients of plain HTTP on this machine, which no proxy could reach.
pub(crate) fn local() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().no_proxy();
    // In a build that can push images every client has TLS in it. It must work also where no certificates are installed.
    #[cfg(feature = "image")]
    let builder = {
        provide_tls();
        builder.tls_certs_only([])
    };
    builder
}

/// From here on, clients that speak TLS can be made: by ring, as everywhere.
#[cfg(feature = "image")]
pub(crate) fn provide_tls() {
    static PROVIDED: Once = Once::new();
    PROVIDED.call_once(|| {
        // It fails if there is one already, which is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
    });
}
