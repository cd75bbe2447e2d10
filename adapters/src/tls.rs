//! TLS by ring, for the clients of HTTP that ask the process what to use. A build that can push images makes such a client
//! of each, also of one that only speaks plain HTTP.

use std::sync::Once;

/// From here on, clients can be made.
pub(crate) fn provide() {
    static PROVIDED: Once = Once::new();
    PROVIDED.call_once(|| {
        // It fails if there is one already, which is as good.
        _ = rustls::crypto::ring::default_provider().install_default();
    });
}
