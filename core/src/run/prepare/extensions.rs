//! Whether this k6 has all that a test needs. k6 with the fetching of extensions switched off, as ours is, runs a test
//! whose `"use k6 …"` directives it does not satisfy as if they were not there; so they are looked at before.

use std::{fmt, path::Path};

use crate::{
    archive::ScriptMetadata,
    k6::{
        dependencies::{Constraints, Lacking, is_special, lacking, unknown_modules},
        version::K6Version,
    },
    ports::{GeneratorError, LoadGenerator},
    run::prepare::PrepareError,
};

/// What a test needs and this k6 lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MissingExtensions {
    /// The script's or archive's file name.
    pub test: String,
    /// What is missing.
    pub lacking: Vec<Lacking>,
    /// Whether there may be more: this k6 stops at the first.
    pub may_be_more: bool,
}

impl fmt::Display for MissingExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} needs what this k6 does not have", self.test)?;
        for Lacking { name, constraint, found } in &self.lacking {
            let wanted = constraint.as_ref().map_or_else(|| name.clone(), |constraint| format!("{name} {constraint}"));
            match (found, name.as_str()) {
                (None, _) => writeln!(f, "{wanted}: not in this k6")?,
                (Some(found), "k6") => writeln!(f, "{wanted}: this k6 is {found}")?,
                // What was built from a folder has no version.
                (Some(found), _) if found.is_empty() => writeln!(f, "{wanted}: this k6 has it without a version")?,
                (Some(found), _) => writeln!(f, "{wanted}: this k6 has {found}")?,
            }
        }
        if self.may_be_more {
            writeln!(f, "there may be more: k6 before 1.6 names only the first")?;
        }
        f.write_str("name a k6 that has it with --k6 or LAMBDALOAD_K6; `xk6 build --with <extension>` makes one")
    }
}

/// Sees whether k6 has all that an archive needs; `path` is where the test is.
pub(super) async fn check(
    generator: &dyn LoadGenerator,
    version: K6Version,
    path: &Path,
    archive: &[u8],
) -> Result<(), PrepareError> {
    let unreadable = |error| PrepareError::Archive { path: path.to_owned(), error };
    let needs = match ScriptMetadata::read(archive).map_err(unreadable)?.dependencies() {
        Some(needs) if !is_special(&needs) => return Ok(()),
        Some(needs) if !version.lists_dependencies() => needs,
        None if !version.lists_dependencies() => return Ok(()),
        _ => {
            let dependencies = generator.dependencies(path).await?;
            if !dependencies.custom_build_required {
                return Ok(());
            }
            dependencies.needs
        }
    };
    let mut lacking = lacking_here(generator, version, &needs).await?;
    if !version.lists_dependencies() {
        // Such a k6 passes over constraints; so whatever it has will do.
        lacking.retain(|need| need.found.is_none());
    }
    if lacking.is_empty() { Ok(()) } else { Err(missing(path, lacking, false)) }
}

/// What a refusal comes from: missing extensions, if k6 says so.
pub(super) async fn explain(
    generator: &dyn LoadGenerator,
    version: K6Version,
    path: &Path,
    refusal: GeneratorError,
) -> PrepareError {
    let GeneratorError::Refused { log, .. } = &refusal else { return refusal.into() };
    let unknown: Constraints = unknown_modules(log).into_iter().map(|name| (name, "*".to_owned())).collect();
    if unknown.is_empty() {
        return refusal.into();
    }
    let listed = if version.lists_dependencies() { generator.dependencies(path).await.ok() } else { None };
    let may_be_more = listed.is_none();
    let needs = listed.map_or(unknown, |listed| listed.needs);
    match lacking_here(generator, version, &needs).await {
        Ok(lacking) => missing(path, lacking, may_be_more),
        Err(_) => refusal.into(),
    }
}

async fn lacking_here(
    generator: &dyn LoadGenerator,
    version: K6Version,
    needs: &Constraints,
) -> Result<Vec<Lacking>, GeneratorError> {
    let mut found = generator.extensions().await?;
    found.insert("k6".to_owned(), format!("v{version}"));
    Ok(lacking(needs, &found))
}

fn missing(path: &Path, lacking: Vec<Lacking>, may_be_more: bool) -> PrepareError {
    let test = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    PrepareError::Extensions(MissingExtensions { test, lacking, may_be_more })
}
