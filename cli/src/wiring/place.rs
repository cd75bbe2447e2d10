//! Where runs are, with whatever is needed to look at them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::{ObjectStore, SlotBook, StoreError, keys},
    run::WatchPorts,
};

use super::Deployment;
use crate::{error::Failure, printer::Printer, settings::PlaceSettings};

/// Where runs are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a folder of this machine.
    Local(PathBuf),
    /// In a deployment; its runs' reports are written into a folder all the same.
    Lambda(Box<Deployment>, PathBuf),
}

impl Place {
    /// The place that was chosen. A deployment of another version can be looked at, which is said.
    pub(crate) async fn open(settings: &PlaceSettings, printer: &Printer) -> Result<Self, Failure> {
        let dir = settings.dir.clone();
        let Some(stack) = &settings.deployment else { return Ok(Self::Local(dir)) };
        let deployment = Deployment::find(stack).await?;
        if let Err(failure) = deployment.check_version() {
            printer.warning(&failure);
        }
        Ok(Self::Lambda(Box::new(deployment), dir))
    }

    /// The folder of lambdaload's own files.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::Local(dir) | Self::Lambda(_, dir) => dir,
        }
    }

    /// For people: where runs are looked for.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Local(dir) => dir.display().to_string(),
            Self::Lambda(deployment, _) => deployment.words(),
        }
    }

    /// Whether there cannot be any runs yet.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Local(dir) => !super::has_ledger(dir),
            Self::Lambda(..) => false,
        }
    }

    /// The ports of whoever looks on. On this machine there must have been a run.
    pub(crate) async fn watch_ports(&self) -> Result<WatchPorts, Failure> {
        match self {
            Self::Local(dir) => super::watch_ports(dir).await,
            Self::Lambda(deployment, _) => Ok(deployment.watch_ports()),
        }
    }

    /// The deployment, if it is one.
    pub(crate) fn deployment(&self) -> Option<&Deployment> {
        match self {
            Self::Local(_) => None,
            Self::Lambda(deployment, _) => Some(deployment),
        }
    }

    /// The book of slots of the deployment, if it is one.
    pub(crate) fn slots(&self) -> Option<Arc<dyn SlotBook>> {
        self.deployment().map(Deployment::slots)
    }

    /// A command about one of its runs, as a person types it.
    pub(crate) fn command(&self, name: &str, run: &RunId) -> String {
        let flags = self.deployment().map(Deployment::flags).unwrap_or_default();
        format!("lambdaload {name} {run}{flags}")
    }

    /// What k6 and the script said in a worker.
    pub(crate) async fn log(
        &self,
        store: &dyn ObjectStore,
        run: &RunId,
        worker: WorkerIndex,
        attempt: Attempt,
    ) -> Result<Vec<u8>, StoreError> {
        let key = keys::log(run, worker, attempt);
        match self {
            Self::Local(dir) => {
                let file = dir.join("runs").join(run.as_str()).join(format!("worker-{}.log", worker.number()));
                std::fs::read(file).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => StoreError::NotFound(key),
                    _ => StoreError::Unavailable { operation: "reading", key, cause: error.into() },
                })
            }
            Self::Lambda(..) => store.get(&key).await,
        }
    }
}
