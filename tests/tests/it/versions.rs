//! What is said of a k6 by its version.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use lambdaload_tests::{cli::Folder, k6_binary, k6_version};

/// The k6 of these tests, which says that it is another version.
fn k6_that_says(folder: &Folder, version: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = version ]; then echo '{{\"version\":\"v{version}\"}}'; exit; fi\nexec {} \"$@\"\n",
        k6_binary().display()
    );
    let path = folder.write("k6", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// A version beside the tested range whose command line is that of the k6 of these tests.
fn beside_the_range() -> &'static str {
    if k6_version() < (1, 3, 0) { "1.0.9" } else { "2.9.0" }
}

const SCRIPT: &str = "export const options = { vus: 2, iterations: 2, thresholds: { iterations: ['count==2'] } };
    export default () => {};";

#[test]
fn outside_the_tested_range_it_runs_with_a_warning_that_names_the_range() {
    let folder = Folder::new();
    folder.write("test.js", SCRIPT);
    let version = beside_the_range();
    let k6 = k6_that_says(&folder, version).display().to_string();
    let warning = format!(
        "k6 {version} is outside the range that lambdaload is tested with (1.1.0 to 2.2.0; tests run on 1.1.0, 1.8.1 and \
         2.2.0)"
    );
    let plan = folder.run(&["plan", "test.js", "--workers", "2", "--k6", &k6]);
    assert!(plan.code == Some(0) && plan.stdout.contains(&warning), "{plan:#?}");
    let run = folder.run(&["run", "test.js", "--workers", "2", "--k6", &k6]);
    assert!(run.code == Some(0) && run.stderr.contains(&warning), "{run:#?}");
    let doctor = folder.run(&["doctor", "--k6", &k6]);
    assert!(doctor.code == Some(0) && doctor.stdout.contains(&warning), "{doctor:#?}");
    assert!(doctor.stdout.starts_with("warning  k6"), "{doctor:#?}");
}

#[test]
fn within_the_tested_range_there_is_no_warning() {
    let folder = Folder::new();
    folder.write("test.js", SCRIPT);
    let plan = folder.run(&["plan", "test.js", "--workers", "2"]);
    assert!(plan.code == Some(0) && !plan.stdout.contains("outside the range"), "{plan:#?}");
    let doctor = folder.run(&["doctor"]);
    let (major, minor, patch) = k6_version();
    let own = format!("v{major}.{minor}.{patch}");
    assert!(doctor.stdout.contains(&own) && doctor.stdout.contains("tested: 1.1.0 to 2.2.0"), "{doctor:#?}");
}

#[test]
fn before_1_0_it_is_refused() {
    let folder = Folder::new();
    folder.write("test.js", SCRIPT);
    let k6 = k6_that_says(&folder, "0.57.0").display().to_string();
    for command in ["plan", "run"] {
        let said = folder.run(&[command, "test.js", "--k6", &k6]);
        assert_eq!(said.code, Some(104), "{said:#?}");
        assert!(said.stderr.contains("k6 0.57.0 is too old: lambdaload needs 1.0 or later"), "{}", said.stderr);
    }
    assert_eq!(folder.run(&["doctor", "--k6", &k6]).code, Some(97));
}
