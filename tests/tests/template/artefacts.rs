//! What `sam build` has made of the template.

use std::{env::consts::ARCH, fs, process::Command};

use lambdaload_core::deployment::K6_PATH;
use lambdaload_tests::template::provided;

/// The newest glibc that provided.al2023 has.
const GLIBC: (u32, u32) = (2, 34);

/// All `GLIBC_2.30` in a program: the versions of symbols that it needs.
fn needed(program: &[u8]) -> Vec<(u32, u32)> {
    let mark = b"GLIBC_";
    let found = program.windows(mark.len()).enumerate().filter(|(_, window)| window == mark);
    let version = |(at, _): (usize, _)| {
        let text = program[at + mark.len()..].split(|byte| !byte.is_ascii_digit() && *byte != b'.').next()?;
        let (major, rest) = std::str::from_utf8(text).ok()?.split_once('.')?;
        Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
    };
    found.filter_map(version).collect()
}

#[test]
fn functions_are_one_program_that_lambda_s_libraries_can_run() {
    let Some(built) = provided("LAMBDALOAD_SAM_BUILD") else { return };
    let template = fs::read_to_string(built.join("template.yaml")).unwrap();
    let folders: Vec<&str> = template.lines().filter_map(|line| line.trim().strip_prefix("CodeUri: ")).collect();
    assert_eq!(folders.len(), 4, "{folders:?}");
    let programs: Vec<Vec<u8>> =
        folders.iter().map(|folder| fs::read(built.join(folder).join("bootstrap")).unwrap()).collect();
    assert!(programs.iter().all(|program| *program == programs[0]), "the functions are different programs");
    assert!(programs[0].starts_with(b"\x7fELF"));
    let needed = needed(&programs[0]);
    let newest = needed.iter().max().expect("it is linked with glibc");
    assert!(*newest <= GLIBC, "it needs glibc {newest:?}, and Lambda has {GLIBC:?}");
}

#[test]
fn the_layer_has_a_k6_and_its_licence() {
    let Some(built) = provided("LAMBDALOAD_SAM_BUILD") else { return };
    let layer = built.join("K6Layer");
    let k6 = layer.join(K6_PATH.strip_prefix("/opt/").unwrap());
    let output = Command::new(&k6).arg("version").output();
    let output = output.unwrap_or_else(|error| panic!("{} does not run on {ARCH}: {error}", k6.display()));
    let notice = fs::read_to_string(layer.join("licences/k6/NOTICE")).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let version = said.split_whitespace().nth(1).unwrap().trim_start_matches('v');
    assert!(notice.contains(&format!("Grafana k6 {version}, unmodified")), "{said}, {notice}");
    assert!(fs::read_to_string(layer.join("licences/k6/LICENSE.md")).unwrap().contains("AFFERO"));
}

#[test]
fn versions_of_symbols_are_found() {
    assert_eq!(needed(b"\0GLIBC_2.30\0x\0GLIBC_2.2.5\0GLIBC_PRIVATE\0"), [(2, 30), (2, 2)]);
}
