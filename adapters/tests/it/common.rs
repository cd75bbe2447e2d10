//! What tests with a real k6 share.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use lambdaload_adapters::k6::{K6, find};
use lambdaload_core::{
    ids::WorkerIndex,
    plan::Samples,
    ports::{Generator, GeneratorControl, GeneratorPhase, GeneratorSpec, LoadGenerator as _},
    secrets::Secrets,
    segment::Segment,
};

/// The k6 that the product would run here.
pub(crate) fn k6_path() -> PathBuf {
    let named = std::env::var_os("LAMBDALOAD_K6").map(PathBuf::from);
    find::find(named.as_deref()).unwrap_or_else(|error| panic!("{error}")).path
}

/// Starts the only worker of a script.
pub(crate) async fn start(k6: &K6, archive: Vec<u8>, linger: bool) -> Generator {
    let segment = Segment::new(WorkerIndex(0), 1).expect("a segment");
    k6.start(GeneratorSpec {
        archive,
        segment: Some(segment),
        linger,
        rps: None,
        env: Vec::new(),
        samples: Samples::Exact,
        secrets: Secrets::default(),
    })
    .await
    .expect("k6 starts")
}

/// Waits until k6 says that it is there.
pub(crate) async fn reach(control: &dyn GeneratorControl, wanted: GeneratorPhase) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seen = String::new();
    loop {
        let phase = control.phase().await;
        if matches!(phase, Ok(phase) if phase == wanted) {
            return;
        }
        let _ = writeln!(seen, "{phase:?}");
        assert!(Instant::now() < deadline, "k6 does not get {wanted:?}: {:?}\n{seen}", control.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
