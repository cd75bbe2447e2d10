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
    /// Tasks of ECS on Fargate in the user's account.
    Fargate(FargateStack),
}

impl Platform {
    /// The stack of a run on Lambda.
    pub fn lambda(&self) -> Option<&LambdaStack> {
        match self {
            Self::Local | Self::Fargate(_) => None,
            Self::Lambda(stack) => Some(stack),
        }
    }

    /// The stack of a run on Fargate.
    pub fn fargate(&self) -> Option<&FargateStack> {
        match self {
            Self::Local | Self::Lambda(_) => None,
            Self::Fargate(stack) => Some(stack),
        }
    }

    /// Whether workers may be taken away because AWS needs what they run on.
    pub fn is_spot(&self) -> bool {
        self.fargate().is_some_and(|stack| stack.spot)
    }

    /// The k6 of the workers, where that is not the one that makes the archive.
    pub(crate) fn k6_version(&self) -> Option<K6Version> {
        match self {
            Self::Local => None,
            Self::Lambda(stack) => Some(stack.k6_version),
            Self::Fargate(stack) => Some(stack.k6_version),
        }
    }

    /// Where in AWS it is.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Local => None,
            Self::Lambda(stack) => Some(&stack.region),
            Self::Fargate(stack) => Some(&stack.region),
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

/// A deployed stack whose workers are tasks, and what a run wants of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FargateStack {
    /// The lambdaload of its functions and of its image.
    pub version: String,
    /// The k6 of its workers.
    pub k6_version: K6Version,
    /// Processors of a worker, in units of ECS: 1,024 are one.
    pub cpu: u32,
    /// Memory of a worker in MB.
    pub memory_mb: u32,
    /// Processors of its workers and functions.
    pub architecture: Architecture,
    /// Workers at one time, in all runs on Fargate.
    pub capacity: u32,
    /// Where it is, for example `eu-central-1`.
    pub region: String,
    /// Whether workers are on Spot capacity.
    pub spot: bool,
    /// Where in the account's network workers are.
    pub network: Network,
}

/// Where tasks are in an account's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The subnets, of which each task is in one.
    pub subnets: Vec<String>,
    /// The security groups; none means the default one of the subnets' VPC.
    pub security_groups: Vec<String>,
    /// Whether tasks get a public address. Without one they need a NAT gateway.
    pub public_ip: bool,
}

impl FargateStack {
    /// How much of a processor a worker has.
    pub fn vcpus(&self) -> f64 {
        f64::from(self.cpu) / 1_024.0
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
    /// A stack, with workers on Lambda.
    Lambda(LambdaStack),
    /// A stack, with workers on Fargate.
    Fargate(FargateStack),
    /// A stack that has both: Lambda for what fits there.
    Either(LambdaStack, FargateStack),
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

impl From<FargateStack> for Host {
    fn from(stack: FargateStack) -> Self {
        Self::Fargate(stack)
    }
}
