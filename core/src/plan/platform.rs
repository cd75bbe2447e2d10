//! Where workers run.

use serde::{Deserialize, Serialize};

use crate::{k6::version::K6Version, plan::Machine};

/// Where the workers of a run are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Platform {
    /// Processes on the machine of whoever started the run.
    #[default]
    Local,
    /// Lambda invocations in the user's account.
    Lambda(LambdaStack),
}

impl Platform {
    /// The stack of a run on Lambda.
    pub fn lambda(&self) -> Option<&LambdaStack> {
        match self {
            Self::Local => None,
            Self::Lambda(stack) => Some(stack),
        }
    }
}

/// A deployed stack, as far as plans depend on it; its outputs say all of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaStack {
    /// The lambdaload of its functions.
    pub version: String,
    /// The k6 of its workers.
    pub k6_version: K6Version,
    /// What a worker has, in MB.
    pub memory_mb: u32,
    /// Processors of its functions.
    pub architecture: Architecture,
    /// Workers at one time, in all runs.
    pub capacity: u32,
    /// Where it is, for example `eu-central-1`.
    pub region: String,
}

impl LambdaStack {
    /// How much of a processor a worker has: Lambda gives one for each 1,769 MB.
    pub fn vcpus(&self) -> f64 {
        f64::from(self.memory_mb) / 1_769.0
    }
}

/// A kind of processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// AWS Graviton.
    #[default]
    #[serde(rename = "arm64")]
    Arm64,
    /// Intel and AMD.
    #[serde(rename = "x86_64")]
    X86,
}

impl Architecture {
    /// Reads `arm64` or `x86_64`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Arm64, Self::X86].into_iter().find(|architecture| architecture.name() == text)
    }

    /// As AWS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86 => "x86_64",
        }
    }
}

/// What workers would run on, as it is before a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This machine.
    Machine(Machine),
    /// A stack.
    Lambda(LambdaStack),
}

impl From<Machine> for Host {
    fn from(machine: Machine) -> Self {
        Self::Machine(machine)
    }
}

impl From<LambdaStack> for Host {
    fn from(stack: LambdaStack) -> Self {
        Self::Lambda(stack)
    }
}
