//! The versions of stock k6 that the project knows, and what proves a copy of each genuine.

use anyhow::{Context as _, Result};

use crate::wheel::Wheel;

/// One version of k6, or of another program in Go.
pub(crate) struct Pin {
    pub(crate) version: &'static str,
    /// SHA-256 of the release archive of each platform, as `k6-v<version>-checksums.txt` of the release lists them.
    /// Empty where the project could not confirm them: an archive that can't be checked is never downloaded.
    pub(crate) releases: &'static [(&'static str, &'static str)],
    /// The Go module and its two lines of `go.sum`: of the module's files and of its `go.mod`.
    pub(crate) module: &'static str,
    pub(crate) module_sum: &'static str,
    pub(crate) go_mod_sum: &'static str,
    /// The Python package that carries the same program.
    pub(crate) wheel: Option<Wheel>,
}

/// The first one is the default.
pub(crate) const PINS: [Pin; 3] = [
    Pin {
        version: "1.8.1",
        releases: &[],
        module: "go.k6.io/k6",
        module_sum: "h1:orZsbZ2Od0CVZICs9YpTgkKcxfPghJW8VZtwg0cj8H8=",
        go_mod_sum: "h1:M9GTflK5ArXWBY6ng2ksdV1SXzR6SkW49ryzIHqkyvQ=",
        wheel: None,
    },
    Pin {
        version: "2.2.0",
        releases: &[
            ("linux-amd64", "b5a8003c86f35f5cd5ceef1490312c48e587696c94d998cefc6d7b3b4cb1597d"),
            ("linux-arm64", "4ecd64cadcc792402d16293836115480419c4447c032858f564852d98f1bf54c"),
            ("macos-amd64", "45a08590511c8a6a9c6331645e60c41624924e848e29472e87c60ac956d50372"),
            ("macos-arm64", "37a028506bf13578de66c906296803775df28cc2504b1a8c5d786b2803e757c7"),
        ],
        module: "go.k6.io/k6/v2",
        module_sum: "h1:FXtQJeClRQm25eraUvz/cbn2xcYZThs6cv2lBnid8tM=",
        go_mod_sum: "h1:7OY2MP0BM2TOKvOXmHbWixaIXmLVnZbbSWiKSQnQnSU=",
        wheel: None,
    },
    Pin {
        version: "1.1.0",
        releases: &[],
        module: "go.k6.io/k6",
        module_sum: "h1:kKAJTSmaEaaTGbw9rB2K49So0ul0kf05loZGXsI4Dxo=",
        go_mod_sum: "h1:C68dyEQUUZ1MSCPpFdQcjdtydAgNTOASNKhkDF7fiHg=",
        wheel: Some(Wheel {
            package: "k6",
            version: "1.1.0",
            sha256: &[
                "beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04",
                "a6f752b793e3e6ae8055a828358e144324bc6e21706075a6d3bad7075259a0e3",
                "a9b79dee5c30792469512d635ef8f285e12a2c2e53fed747740997a1e336a221",
            ],
        }),
    },
];

/// The version that is provided when none is asked for.
pub(crate) const DEFAULT_VERSION: &str = PINS[0].version;

/// The pin of a version, written with or without a leading `v`.
pub(crate) fn find(version: &str) -> Result<&'static Pin> {
    let number = version.strip_prefix('v').unwrap_or(version);
    PINS.iter().find(|pin| pin.version == number).with_context(|| {
        let known: Vec<_> = PINS.iter().map(|pin| pin.version).collect();
        format!(
            "k6 {number} is not pinned; pinned are {}. Ask for one of them, or add a pin to xtask/src/k6/pins.rs",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_with_and_without_its_v() {
        assert_eq!(find("v2.2.0").unwrap().version, "2.2.0");
        assert_eq!(find("1.1.0").unwrap().version, "1.1.0");
    }

    #[test]
    fn an_unknown_version_is_told_what_is_known() {
        let Err(error) = find("0.40.0") else { panic!("0.40.0 must not be pinned") };
        let said = error.to_string();
        assert!(said.contains("k6 0.40.0 is not pinned") && said.contains("1.8.1, 2.2.0, 1.1.0"), "{said}");
    }

    #[test]
    fn every_checksum_is_whole() {
        let archives = PINS.iter().flat_map(|pin| pin.releases.iter().map(|(_, sha256)| *sha256));
        let wheels = PINS.iter().filter_map(|pin| pin.wheel.as_ref()).flat_map(|wheel| wheel.sha256.iter().copied());
        for sha256 in archives.chain(wheels) {
            assert!(sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sha256}");
        }
        for sum in PINS.iter().flat_map(|pin| [pin.module_sum, pin.go_mod_sum]) {
            assert!(sum.starts_with("h1:") && sum.len() == 47, "{sum}");
        }
    }
}
