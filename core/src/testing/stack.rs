//! Stacks as some customer has deployed them: those of two that most tests need, the rest by update.

use crate::{
    k6::version::K6Version,
    plan::{Architecture, FargateStack, LambdaStack, Network},
};

/// Workers with 2 GB on Lambda, two hundred at a time.
pub fn lambda() -> LambdaStack {
    LambdaStack {
        version: "0.1.0".into(),
        k6_version: K6Version::new(1, 8, 1),
        memory_mb: 2_048,
        architecture: Architecture::Arm64,
        capacity: 200,
        region: "us-east-1".into(),
    }
}

/// Tasks with one processor and 2 GB, fifty at a time, in a public subnet.
pub fn fargate() -> FargateStack {
    FargateStack {
        version: "0.1.0".into(),
        k6_version: K6Version::new(1, 8, 1),
        cpu: 1_024,
        memory_mb: 2_048,
        architecture: Architecture::Arm64,
        capacity: 50,
        region: "us-east-1".into(),
        spot: false,
        network: Network { subnets: vec!["subnet-1".into()], security_groups: Vec::new(), public_ip: true },
    }
}
